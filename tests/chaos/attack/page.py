"""Writes the figures into docs/reference/reliability.md: `python -m tests.chaos.attack.page`.

The runs of `make chaos` are JSON files in docs/reference/data/, one for each seed.
"""

from __future__ import annotations

import argparse
import json
import shutil
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from demo import paths
from tests.chaos.attack import chart, table
from tests.chaos.attack.__main__ import FOLDER
from tests.chaos.attack.faults import FAULTS, Fault
from tests.chaos.attack.kinds import KINDS, RETRIES
from tests.chaos.attack.oracle import PROMISES

DATA = paths.ROOT / "docs" / "reference" / "data"
IMAGES = paths.ROOT / "docs" / "images"
PAGE = paths.ROOT / "docs" / "reference" / "reliability.md"

#: What follows this line of the page is generated.
_MARK = "<!-- The rest is generated"


def page(runs: Sequence[dict[str, Any]], references: Sequence[dict[str, Any]]) -> str:
    """The generated part of the page; without runs it has no figures.

    Args:
        runs: Of this executor.
        references: Of the reference's.
    """
    columns = {name: each for name, each in zip(_COLUMNS, (runs, references), strict=True) if each}
    return "\n".join(["", *_results(columns), *_faults(columns), *_kinds()])


#: Whose violations and faults a column has.
_COLUMNS = ("this executor", "`AwsLambdaExecutor`")


def _results(columns: Mapping[str, Sequence[dict[str, Any]]]) -> list[str]:
    if not columns:
        return []
    lines = ["## Results", ""]
    for name, runs in columns.items():
        tasks, tries = (sum(run[key] for run in runs) for key in ("tasks", "tries"))
        seeds = ", ".join(map(str, sorted(run["seed"] for run in runs)))
        lines.append(f"* {name}: {tasks:,} tasks in {tries:,} tries, seeds {seeds}.")
    lines += ["", f"![What was done to the tasks, and what broke](../images/{chart.NAME})"]
    lines += ["", _row("promise", *(f"violations, {name}" for name in columns))]
    lines.append(_row(*["---"] * (1 + len(columns))))
    for promise, meaning in PROMISES.items():
        counts = [(_violations(runs)[promise], runs) for runs in columns.values()]
        kept = promise == "left"
        lines.append(
            _row(meaning, *(table.kept(count, runs) if kept else count for count, runs in counts))
        )
    return [*lines, "", *_shown(columns.get(_COLUMNS[0], ())), ""]


def _row(*cells: object) -> str:
    return f"| {' | '.join(map(str, cells))} |"


def _shown(runs: Sequence[dict[str, Any]]) -> list[str]:
    found = [violation for run in runs for violation in run["violations"]]
    if not found:
        return []
    return [
        "What was found in these runs:",
        "",
        *(f"* {each['promise']}: {each['what']}" for each in found),
        "",
    ]


def _violations(runs: Iterable[dict[str, Any]]) -> Counter[str]:
    return Counter(each["promise"] for run in runs for each in run["violations"])


def _faults(columns: Mapping[str, Sequence[dict[str, Any]]]) -> list[str]:
    heads = [f"{what}, {name}" for name in columns for what in ("injected", "violations")]
    lines = [_row("fault", "what it is", *heads), _row(*["---"] * (2 + len(heads)))]
    for fault in FAULTS:
        cells = [cell for each in columns.items() for cell in _of_fault(fault, *each)]
        lines.append(_row(fault.name, fault.does, *cells))
    return ["## What is done to them", "", *lines, ""]


def _of_fault(fault: Fault, name: str, runs: Sequence[Mapping[str, Any]]) -> tuple[object, object]:
    """How often a fault was injected, and its violations; that none of the runs could have it."""
    count = table.counts(runs)[fault.name]
    is_reference = name == _COLUMNS[1]
    if not count and not any(fault.is_possible(r["tasks"], reference=is_reference) for r in runs):
        return "not tried", "not tried"
    return count, table.violations_by_fault(runs)[fault.name]


def _kinds() -> list[str]:
    return [
        "## What the tasks do",
        "",
        f"Each may be tried {RETRIES} times again, because the attacks hit any try.",
        "",
        "| kind | what it does | must end as |",
        "|---|---|---|",
        *(f"| `{kind.name}` | {kind.does} | {kind.ends} |" for kind in KINDS),
        "",
    ]


def main() -> None:
    """Write the page, of the runs in build/chaos if it is told to take them."""
    parser = argparse.ArgumentParser(prog="python -m tests.chaos.attack.page", description=__doc__)
    parser.add_argument("--take", action="store_true", help="replace the files by build/chaos's")
    if parser.parse_args().take:
        take(FOLDER, DATA)
    runs, references = stored()
    PAGE.write_text(renewed(PAGE.read_text(), runs, references))
    (IMAGES / chart.NAME).write_text(chart.drawn(runs, references))


def take(source: Path, destination: Path) -> None:
    """Replace the runs in a folder by those of another one; other files stay as they are.

    Raises:
        SystemExit: One of them has not done what it should have done, so that it shows nothing.
    """
    idle = [
        f"{file.name}: {what}"
        for name in chart.FILES
        for file in sorted(source.glob(f"{name}-*.json"))
        for what in json.loads(file.read_text()).get("not_done", ())
    ]
    if idle:
        raise SystemExit("\n".join(["These runs are not taken. Not done:", *idle]))
    for name in chart.FILES:
        for file in destination.glob(f"{name}-*.json"):
            file.unlink()
        for file in source.glob(f"{name}-*.json"):
            shutil.copy(file, destination)


def stored() -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """The runs in docs/reference/data, of this executor and of the reference's."""
    return chart.runs_in(DATA)


def renewed(text: str, runs: Sequence[dict[str, Any]], references: Sequence[dict[str, Any]]) -> str:
    """The page with its generated part made anew."""
    lines = text.splitlines()
    (last,) = (number for number, line in enumerate(lines) if line.startswith(_MARK))
    return "\n".join([*lines[: last + 1], page(runs, references)])


if __name__ == "__main__":
    main()
