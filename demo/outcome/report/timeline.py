"""Where each invocation is on the report's timeline. Pure.

A lane is one execution environment. What waited for it is drawn below what it ran, in as many
levels as waited at once.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import groupby

from demo.outcome.tries import FUNCTION, LoggedInvocation, Row

#: Seconds between two marks of the axis.
_STEPS_S = (0.5, 1, 2, 5, 10, 15, 30, 60, 120, 300, 600, 1800, 3600)
_MOST_MARKS = 10


@dataclass(frozen=True, slots=True)
class Span:
    """A part of the timeline, in percent of its length."""

    left: float
    width: float

    @property
    def right(self) -> float:
        """Where it ends."""
        return round(self.left + self.width, 4)


@dataclass(frozen=True, slots=True)
class Bar:
    """One invocation.

    Attributes:
        number: The row's number in the table.
        kind: `cold`, `restored`, `warm`, or `job` for what is no function.
        wait: From the executor's queue to the start; None: nobody knows.
        level: Which of the lines of waits it is on, from 0.
    """

    number: int
    row: Row
    kind: str
    run: Span
    wait: Span | None
    level: int


@dataclass(frozen=True, slots=True)
class Lane:
    """One execution environment; `levels` is how many lines of waits it needs."""

    environment: str
    bars: Sequence[Bar]
    levels: int


@dataclass(frozen=True, slots=True)
class Target:
    """A function, or another target, with its execution environments."""

    kind: str
    name: str
    lanes: Sequence[Lane]


@dataclass(frozen=True, slots=True)
class Timeline:
    """All of it; `marks` are the seconds of the axis and where they are, in percent."""

    targets: Sequence[Target]
    marks: Sequence[tuple[str, float]]


def timeline(rows: Sequence[Row]) -> Timeline:
    """Lay out the rows that have an invocation; their numbers are their places in `rows`."""
    placed = [(number, row, row.invocation) for number, row in enumerate(rows) if row.invocation]
    if not placed:
        return Timeline((), ())
    start_s = min(_queued_at_s(one) for _, _, one in placed)
    length_s = max(_ended_at_s(one) for _, _, one in placed) - start_s or 1.0

    def span(from_s: float, to_s: float) -> Span:
        scale = 100 / length_s
        return Span(round((from_s - start_s) * scale, 4), round((to_s - from_s) * scale, 4))

    def place(placed: tuple[int, Row, LoggedInvocation]) -> tuple[str, str, str, float]:
        one = placed[2]
        # Functions first.
        return (one.target * (one.target != FUNCTION), one.name, one.environment, one.started_at_s)

    targets = []
    by_target = groupby(sorted(placed, key=place), lambda each: (each[2].target, each[2].name))
    for (kind, name), of_target in by_target:
        lanes = []
        for environment, of_lane in groupby(of_target, lambda each: each[2].environment):
            found = list(of_lane)
            levels = _levels([(_queued_at_s(one), one.started_at_s) for _, _, one in found])
            bars = [
                Bar(
                    number,
                    row,
                    kind=one.start if one.target == FUNCTION else "job",
                    run=span(one.started_at_s, _ended_at_s(one)),
                    wait=None
                    if one.queue_to_start_ms is None
                    else span(_queued_at_s(one), one.started_at_s),
                    level=level,
                )
                for (number, row, one), level in zip(found, levels, strict=True)
            ]
            lanes.append(Lane(environment, bars, max(levels) + 1))
        # As they began, which is how a person follows them.
        lanes.sort(key=lambda lane: lane.bars[0].run.left)
        targets.append(Target(kind, name, lanes))
    return Timeline(targets, _marks(length_s))


def _levels(waits: Iterable[tuple[float, float]]) -> list[int]:
    """The first level of each wait that no earlier one still uses."""
    ends: list[float] = []
    levels = []
    for begin, end in waits:
        free = (level for level, taken_until in enumerate(ends) if taken_until <= begin)
        level = next(free, len(ends))
        ends[level : level + 1] = [end]
        levels.append(level)
    return levels


def _marks(length_s: float) -> list[tuple[str, float]]:
    step = next((step for step in _STEPS_S if length_s / step <= _MOST_MARKS), _STEPS_S[-1])
    count = int(length_s / step) + 1
    return [(f"{n * step:g} s", round(n * step / length_s * 100, 4)) for n in range(count)]


def _queued_at_s(one: LoggedInvocation) -> float:
    return one.started_at_s - (one.queue_to_start_ms or 0.0) / 1000


def _ended_at_s(one: LoggedInvocation) -> float:
    return one.started_at_s + one.run_ms / 1000
