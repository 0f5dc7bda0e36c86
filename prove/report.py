"""How the plan and its results are shown: tables of 80 columns, JSON, and a list for the page."""

from __future__ import annotations

import json
import textwrap
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from prove.place import Place
from prove.preflight import Finding
from prove.running import Outcome, Result
from prove.steps import STEPS, Step

WIDTH = 80
#: Where the last column begins: of the results, of the pre-flight.
_RESULT, _FINDING = 44, 38


def dry_run(steps: Sequence[Step], place: Place) -> Iterator[str]:
    """Yield every step with its commands, and what must be seen."""
    for step in steps:
        yield f"{STEPS.index(step) + 1}. {step.name}: {step.does} (about {step.minutes} min)"
        if left_out := step.left_out(place):
            yield f"   left out: {left_out}"
            continue
        if step.only_account:
            yield f"   needs an account: in the embedded AWS, {step.only_account}"
        if step.takes:
            yield f"   takes {step.takes}"
        for action in step.all_actions(place):
            yield f"   $ {action.command(place)}"
        yield f"   must be seen: {step.sees}"


def table(results: Sequence[Result]) -> Iterator[str]:
    """Yield the lines of the table of results."""
    yield f"{'step':26}{'result':>11}{'min':>5}  what was seen"
    for result in results:
        name = f"{result.number:2}. {result.step.name}"
        word = "account" if result.outcome is Outcome.NEEDS_AN_ACCOUNT else result.outcome
        start = f"{name:26}{word:>11}{result.seconds / 60:5.1f}  "
        yield from _folded(start, result.detail, _RESULT)
    counts = {o: sum(result.outcome is o for result in results) for o in Outcome}
    yield ", ".join(f"{number} {outcome}" for outcome, number in counts.items() if number)


def findings_table(findings: Sequence[Finding]) -> Iterator[str]:
    """Yield the lines of the pre-flight."""
    for finding in findings:
        yield from _folded(f"{finding.verdict:9}{finding.quota.name}", finding.detail, _FINDING)
        if finding.fix:
            yield f"{'':9}{finding.fix}"  # To copy, so on one line.


def page() -> Iterator[str]:
    """Yield the plan as the rows of a table in Markdown."""
    yield "| step | does | you must see | min | embedded AWS |"
    yield "|---|---|---|---|---|"
    for number, step in enumerate(STEPS, 1):
        there = f"no: {step.only_account}" if step.only_account else "yes"
        takes = f" (takes {step.takes})" if step.takes else ""
        cells = f"{number}. `{step.name}`", f"{step.does}{takes}", step.sees, step.minutes, there
        yield f"| {' | '.join(map(str, cells))} |"


def write_json(
    path: Path, place: Place, findings: Sequence[Finding], results: Sequence[Result]
) -> None:
    """Write everything into a file."""
    content: dict[str, Any] = {
        "stage": place.stage,
        "account": place.account,
        "region": place.region,
        "embedded": place.is_embedded,
        "preflight": [
            {"quota": f.quota.name, "verdict": f.verdict, "detail": f.detail} for f in findings
        ],
        "steps": [
            {
                "number": result.number,
                "name": result.step.name,
                "outcome": result.outcome,
                "detail": result.detail,
                "seconds": round(result.seconds, 1),
            }
            for result in results
        ],
    }
    path.write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")


def _folded(start: str, text: str, column: int) -> Iterator[str]:
    lines = textwrap.wrap(text, WIDTH - column) or [""]
    yield f"{start:{column}}{lines[0]}".rstrip()
    for line in lines[1:]:
        yield f"{'':{column}}{line}"
