"""The tables of `docs/reference/soak.md`, made from the committed run."""

from __future__ import annotations

from collections.abc import Iterator
from statistics import median

from demo import paths
from tests.soak.programs import FUNCTION
from tests.soak.record import PARTS, Record
from tests.soak.verdict import Judgement
from tests.support.made_part import with_part

PAGE = paths.ROOT / "docs" / "reference" / "soak.md"
#: Of the run's end, for how large a program is.
_LAST_SHARE = 4
_MEMORY = ("rss_mb", "pss_mb")


def written(page: str, record: Record) -> str:
    """The page with the tables of this run.

    Raises:
        ValueError: The page has no place for them.
    """
    return with_part(page, "data/soak.json", tables(record))


def tables(record: Record) -> str:
    """What was run, the memory of each program, everything else, and the latencies."""
    about = record.about
    every = _worst([Judgement(**each) for each in record.verdict])
    conditions = (
        f"{about['minutes']:g} minutes on {about['began'][:10]}, {about['rate']:g} a second: "
        f"{record.tasks:,} tasks were read, {record.tries[-1]:,} tries settled, "
        f"{len(record.unexpected)} ended otherwise than their DAG says. "
        f"Airflow {about['airflow']}, Python {about['python']}, {about['conditions']}."
    )
    sections = (
        [conditions],
        list(_memory(record, every)),
        list(_others(every)),
        list(_latencies(record)),
    )
    return "\n\n".join("\n".join(lines) for lines in sections)


def _memory(record: Record, every: list[Judgement]) -> Iterator[str]:
    yield "| program | MB at the end | growth with 1,000 tries, MB | at most |"
    yield "|---|---|---|---|"
    for each in every:
        if each.measured not in _MEMORY:
            continue
        values = [value for _, _, value in record.points(each.series, "pss_mb")]
        size = median(values[-(len(values) // _LAST_SHARE or 1) :])
        yield f"| {each.series} | {size:.0f} | {_growth(each)} | {_most(each)} |"


def _others(every: list[Judgement]) -> Iterator[str]:
    yield "| what | after the warm-up | at the end | growth with 1,000 tries | at most |"
    yield "|---|---|---|---|---|"
    for each in every:
        if each.measured in _MEMORY or each.warm is None or each.end is None:
            continue
        name = f"{each.series}: {each.measured.replace('_', ' ')}"
        yield f"| {name} | {each.warm:g} | {each.end:g} | {_growth(each)} | {_most(each)} |"


def _worst(every: list[Judgement]) -> list[Judgement]:
    """Of the function's environments only the one that grew most, for each thing measured."""
    worst = dict[tuple[str, str], Judgement]()
    for each in every:
        key = (FUNCTION if each.series.startswith(FUNCTION) else each.series, each.measured)
        if key not in worst or (each.per_thousand or 0) >= (worst[key].per_thousand or 0):
            worst[key] = each
    return list(worst.values())


def _growth(each: Judgement) -> str:
    if each.per_thousand is None or each.beyond is None:
        return "too few samples"
    beyond = (
        "" if each.beyond == each.per_thousand else f", {each.beyond:+.1f} beyond LocalExecutor"
    )
    return f"{each.per_thousand:+.1f}{beyond}"


def _most(each: Judgement) -> str:
    word = "**grows**" if each.leaks else "holds"
    return f"{each.most:g}: {word}" if each.owner == "ours" else ""


def _latencies(record: Record) -> Iterator[str]:
    yield "| target | tasks | queued to started, s | started to ended, s | ended to settled, s |"
    yield "|---|---|---|---|---|"
    for target, found in record.targets.items():
        parts = (
            " / ".join("-" if value is None else f"{value:.2f}" for value in found[part].values())
            for part in PARTS
        )
        yield f"| {target} | {found['tasks']} | {' | '.join(parts)} |"
