"""`python -m tests.bench.charts`: draws the committed runs, and writes their page's tables.

With `--take` the runs in `build/bench` replace the committed ones first. With `--fresh` it draws
them into `build/bench` and changes nothing else; `make bench` ends with that.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Mapping
from pathlib import Path

from stacks.reference.bars import Bar, Group, bars
from tests.bench import taken
from tests.bench.report import HOME, ROOT
from tests.bench.taken import Run
from tests.support.made_part import with_part

PAGE = ROOT / "docs" / "reference" / "benchmarks.md"
IMAGES = ROOT / "docs" / "images"
OURS, REFERENCE, LOCAL = "this kit", "AwsLambdaExecutor", "LocalExecutor"
#: The colour of each, in every picture.
_STYLES = {OURS: 0, REFERENCE: 1, LOCAL: 5}


def dispatch(run: Run) -> str:
    """How fast the executors send, and how long they hold the scheduler."""
    groups = [
        _pair(run, "tasks a second, a heartbeat each 20 ms", "", "tasks a second"),
        _pair(run, "tasks a second, a heartbeat each second", "", _EACH_SECOND),
        _pair(run, "longest heartbeat", "ms", "longest heartbeat"),
        _pair(run, "wait of a result, 95th percentile", "ms", "result latency p95"),
    ]
    return bars("How fast tasks are sent and settled", groups, _remark(run))


def warm_and_cold(run: Run) -> str:
    """How long the handlers take for a task, and until its first line."""
    warm, first = "warm task, 2 CPUs, stalled ones not counted", "cold: process start to first line"
    beside_local, beside_warm = "warm task beside LocalExecutor's", _RESTORED
    groups = [
        Group(
            "a task that does nothing, warm",
            "ms",
            [
                _bar(OURS, run.ours(warm)),
                _bar(LOCAL, run.other(beside_local)),
                _bar(REFERENCE, run.other(warm)),
            ],
        ),
        _pair(run, "the same, 20 ms and TLS away", "ms", _DISTANT),
        Group(
            "until a task's first line",
            "ms",
            [
                Bar(f"{OURS}, warm", run.other(beside_warm), _STYLES[OURS]),
                Bar(f"{OURS}, restored", run.ours(beside_warm), _STYLES[OURS]),
                Bar(f"{OURS}, cold", _ms(run.ours(first)), _STYLES[OURS]),
                Bar(f"{REFERENCE}, cold", _ms(run.other(first)), _STYLES[REFERENCE]),
            ],
        ),
    ]
    remark = f"{_remark(run)} What Lambda itself takes to start or restore is not in it."
    return bars("A task in the handler", groups, remark)


def end_to_end(run: Run) -> str:
    """How long 200 tasks take by each executor."""
    few = f"{OURS}, 8 in flight"
    groups = [
        Group(
            title,
            "s",
            [
                _bar(OURS, run.ours(together)),
                Bar(few, run.ours(limited), _STYLES[OURS]),
                _bar(LOCAL, run.other(together)),
                _bar(REFERENCE, run.other(beside)),
            ],
        )
        for title, (together, limited, beside) in _END_TO_END.items()
    ]
    return bars("200 tasks that do nothing, eight at once", groups, _remark(run))


_EACH_SECOND = "tasks a second, a heartbeat every 1 s"
_DISTANT = "warm task, TLS, 20 ms round trip, stalled ones not counted"
_RESTORED = "restored: to first line, beside our warm one"
#: The title of a group; the figures of all executors, of ours with eight in flight, and of the
#: reference.
_END_TO_END = {
    "from the first to the last": (
        "200 tasks end to end",
        "the same, ours with 8 in flight at most",
        "beside the reference",
    ),
    "without the stalls of Airflow's supervisor": (
        "the same without the stalls",
        "the same without the stalls, ours with 8 in flight at most",
        "beside the reference without its stalls",
    ),
}
#: Every picture, and the benchmark that it shows.
PICTURES: Mapping[str, tuple[str, Callable[[Run], str]]] = {
    "dispatch.svg": ("executor", dispatch),
    "warm-and-cold.svg": ("handler", warm_and_cold),
    "end-to-end.svg": ("end_to_end", end_to_end),
}


def _pair(run: Run, title: str, unit: str, figure: str) -> Group:
    return Group(title, unit, [_bar(OURS, run.ours(figure)), _bar(REFERENCE, run.other(figure))])


def _bar(name: str, value: float | None) -> Bar:
    return Bar(name, value, _STYLES[name])


def _ms(seconds: float | None) -> float | None:
    return None if seconds is None else 1000 * seconds


def _remark(run: Run) -> str:
    return f"Medians. Measured on {run.conditions}."


def draw(file_of: Callable[[str], Path], folder: Path) -> list[str]:
    """Draw into a folder what has been measured; return the names of the pictures."""
    drawn = []
    for picture, (benchmark, by) in PICTURES.items():
        if file_of(benchmark).exists():
            (folder / picture).write_text(by(Run.read(file_of(benchmark))))
            drawn.append(picture)
    return drawn


def page(text: str) -> str:
    """Return the page with the tables of the committed runs."""
    for name in taken.BENCHMARKS:
        file = taken.committed(name)
        text = with_part(text, f"data/{file.name}", Run.read(file).part())
    return text


def main() -> None:
    """Draw, and write the tables."""
    parser = argparse.ArgumentParser(prog="python -m tests.bench.charts", description=__doc__)
    which = parser.add_mutually_exclusive_group()
    which.add_argument("--take", action="store_true", help="first take the runs in build/bench")
    which.add_argument("--fresh", action="store_true", help="only draw the runs in build/bench")
    given = parser.parse_args()
    if given.fresh:
        print("Drawn into build/bench:", *draw(taken.fresh, HOME))  # noqa: T201 - for a person
        return
    if given.take:
        print("Taken:", *taken.take())  # noqa: T201 - for a person
    draw(taken.committed, IMAGES)
    PAGE.write_text(page(PAGE.read_text()))


if __name__ == "__main__":
    main()
