"""`python -m tests.soak.charts`: draws the committed run of the soak, and writes its page's tables.

With `--take build/soak/soak.json` that run replaces the committed one first, with fewer samples.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterable, Mapping
from dataclasses import replace
from pathlib import Path
from statistics import median

from demo import paths
from stacks.reference.chart import Axis, Line, Panel, chart, ticks_to
from tests.soak import page
from tests.soak.programs import EMBEDDED_AWS, FUNCTION
from tests.soak.record import PARTS, Record

DATA = paths.ROOT / "docs" / "reference" / "data" / "soak.json"
IMAGES = paths.ROOT / "docs" / "images"
#: Samples of the committed run: more cannot be seen in a picture.
MOST_SAMPLES = 120
MEDIAN_ENVIRONMENT = "one function environment"
PROGRAMS = ("api-server", "scheduler", "triggerer", "dag-processor", "postgres", EMBEDDED_AWS)
#: Whose threads and descriptors are drawn: the parts of this project.
OURS = ("scheduler", EMBEDDED_AWS)
TITLES: Mapping[str, str] = {
    "pss_mb": "memory, MB",
    "threads": "threads",
    "descriptors": "descriptors",
    "start_s": "queued to started, seconds",
    "run_s": "started to ended, seconds",
    "settle_s": "ended to settled, seconds",
}


def memory(record: Record) -> str:
    """The picture of what the programs use."""
    panels = [
        _panel(
            measured,
            [_line(record, name, measured) for name in names] + [_median(record, measured)],
        )
        for measured, names in (("pss_mb", PROGRAMS), ("threads", OURS), ("descriptors", OURS))
    ]
    return chart(f"What the programs use: {_conditions(record)}", _minutes(record), panels)


def latency(record: Record) -> str:
    """The picture of how long tasks on the function wait, run and settle."""
    panels = [
        _panel(
            part,
            [
                Line(name, [(n + 0.5, each) for n, each in enumerate(values) if each is not None])
                for name, values in record.latency[part].items()
            ],
        )
        for part in PARTS
    ]
    return chart(f"How long a task takes: {_conditions(record)}", _minutes(record), panels)


def drawn(record: Record) -> dict[str, str]:
    """Every picture, by the name of its file."""
    return {"soak-memory.svg": memory(record), "soak-latency.svg": latency(record)}


def draw(record: Record, folder: Path) -> None:
    """Write every picture into a folder."""
    for name, picture in drawn(record).items():
        (folder / name).write_text(picture)


def thinned(record: Record) -> Record:
    """The run with at most `MOST_SAMPLES` samples, evenly spread, and the last."""
    count = len(record.at_s)
    step = -(-count // MOST_SAMPLES)
    kept = sorted({*range(0, count, step), count - 1})
    return replace(
        record,
        at_s=[record.at_s[n] for n in kept],
        tries=[record.tries[n] for n in kept],
        load=[record.load[n] for n in kept],
        open_runs=[record.open_runs[n] for n in kept],
        series={
            name: {measured: [values[n] for n in kept] for measured, values in each.items()}
            for name, each in record.series.items()
        },
    )


def _conditions(record: Record) -> str:
    about = record.about
    return f"{about['minutes']:g} minutes, {about['rate']:g} a second"


def _minutes(record: Record) -> Axis:
    return Axis("minutes", ticks_to(max(record.at_s[-1] / 60, 1.0)))


def _panel(measured: str, lines: Iterable[Line]) -> Panel:
    lines = [line for line in lines if line.points]
    largest = max((y for line in lines for _, y in line.points), default=1.0)
    return Panel(Axis(TITLES[measured], ticks_to(largest or 1.0)), lines)


def _line(record: Record, name: str, measured: str) -> Line:
    points = record.points(name, measured)
    return Line(name, [(at_s / 60, value) for at_s, _, value in points], PROGRAMS.index(name))


def _median(record: Record, measured: str) -> Line:
    """The median of the function's environments at each sample."""
    environments = [
        each[measured] for name, each in record.series.items() if name.startswith(FUNCTION)
    ]
    points = [
        (at_s / 60, float(median(there)))
        for at_s, values in zip(record.at_s, zip(*environments, strict=True), strict=False)
        if (there := [value for value in values if value is not None])
    ]
    return Line(MEDIAN_ENVIRONMENT, points, len(PROGRAMS))


def main() -> None:
    """Draw; with `--take`, from another run."""
    parser = argparse.ArgumentParser(prog="python -m tests.soak.charts", description=__doc__)
    parser.add_argument("--take", type=Path, help="the run that replaces the committed one")
    given = parser.parse_args()
    if given.take:
        thinned(Record.read(given.take)).write(DATA)
    record = Record.read(DATA)
    draw(record, IMAGES)
    page.PAGE.write_text(page.written(page.PAGE.read_text(), record))


if __name__ == "__main__":
    main()
