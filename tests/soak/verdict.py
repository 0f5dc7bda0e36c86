"""Judges a run: what may grow by how much with each thousand tasks, as data. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from statistics import median
from typing import Literal

from tests.soak.growth import FEWEST, growth
from tests.soak.programs import EMBEDDED_AWS, FUNCTION, JOBS
from tests.soak.record import EXECUTOR, PARTS, Record

#: Fewer settled tries after the warm-up say nothing about a thousand.
FEWEST_TRIES = 500
#: A part of a task's time grows if its median is so many times as long in the last quarter of the
#: run as in the second, and longer than so many seconds. The second is after the warm-up.
MOST_TIMES, SHORT_S = 3.0, 1.0
#: With fewer minutes, a quarter says nothing about times.
FEWEST_MINUTES = 8

#: Whose code decides: only ours fails the run. "Airflow's" includes its database.
Owner = Literal["ours", "Airflow's"]


@dataclass(frozen=True, slots=True)
class Limit:
    """How much a series may grow with each thousand settled tries, after the warm-up.

    Attributes:
        series: The program's name; a `*` stands for the number of an environment.
        measured: What of it, as in the record.
        most: In the unit of the series.
        owner: Whose growth it is.
        beside: Whether the growth under LocalExecutor is Airflow's own, so that only what is beyond
            it counts.
    """

    series: str
    measured: str
    most: float
    owner: Owner
    beside: bool = False


LIMITS: tuple[Limit, ...] = (
    Limit("scheduler", "rss_mb", 5.0, "ours", beside=True),
    Limit("scheduler", "threads", 0.5, "ours"),
    Limit("scheduler", "descriptors", 1.0, "ours"),
    *(Limit(EXECUTOR, name, 2.0, "ours") for name in ("pending", "in_flight", "not_acknowledged")),
    # One of a few environments runs a part of the thousand.
    Limit(f"{FUNCTION} *", "rss_mb", 1.0, "ours"),
    Limit(f"{FUNCTION} *", "threads", 0.2, "ours"),
    Limit(f"{FUNCTION} *", "descriptors", 0.5, "ours"),
    Limit(JOBS, "rss_mb", 5.0, "ours"),
    Limit(JOBS, "descriptors", 2.0, "ours"),
    Limit(EMBEDDED_AWS, "rss_mb", 10.0, "ours"),
    Limit(EMBEDDED_AWS, "threads", 1.0, "ours"),
    Limit(EMBEDDED_AWS, "descriptors", 2.0, "ours"),
    Limit("api-server", "rss_mb", 5.0, "Airflow's"),
    Limit("dag-processor", "rss_mb", 5.0, "Airflow's"),
    Limit("triggerer", "rss_mb", 5.0, "Airflow's"),
    # Its buffers are shared, and count once for every backend in the resident sizes.
    Limit("postgres", "pss_mb", 20.0, "Airflow's"),
)


@dataclass(frozen=True, slots=True)
class Judgement:
    """One series beside its limit.

    Attributes:
        warm: The median right after the warm-up.
        end: The median at the end.
        per_thousand: How much it grew with each thousand tries; None: too few samples.
        beyond: Of that, what is beyond the growth under LocalExecutor.
    """

    series: str
    measured: str
    owner: Owner
    warm: float | None
    end: float | None
    per_thousand: float | None
    beyond: float | None
    most: float

    @property
    def leaks(self) -> bool:
        """Whether it grew more than it may."""
        return self.beyond is not None and self.beyond > self.most

    @property
    def fails(self) -> bool:
        """Whether the run fails by it."""
        return self.leaks and self.owner == "ours"

    def __str__(self) -> str:
        what = f"{self.series}, {self.measured}"
        if self.per_thousand is None:
            return f"{what}: too few samples"
        word = "GROWS" if self.leaks else "flat"
        return (
            f"{what}: {self.warm:g} -> {self.end:g}, {self.per_thousand:+.2f} for 1,000 tries "
            f"(at most {self.most:g}, {self.owner}): {word}"
        )


def judge(
    record: Record,
    warm_up_s: float,
    local: Record | None = None,
    limits: Sequence[Limit] = LIMITS,
) -> list[Judgement]:
    """Judge every series that has a limit.

    Args:
        record: The run.
        warm_up_s: Imports, pools and caches fill in these first seconds: no growth.
        local: A run under LocalExecutor, with the same warm-up; None: Airflow's own growth is not
            known, and taken as none.
        limits: What may grow by how much.
    """
    return [
        _judgement(record, name, limit, warm_up_s, local)
        for limit in limits
        for name in record.series
        if fnmatchcase(name, limit.series) and limit.measured in record.series[name]
    ]


def _judgement(
    record: Record, name: str, limit: Limit, warm_up_s: float, local: Record | None
) -> Judgement:
    found = _growth(record, name, limit.measured, warm_up_s)
    own = 0.0
    if limit.beside and local is not None and limit.series in local.series:
        own = max(_growth(local, limit.series, limit.measured, warm_up_s) or 0.0, 0.0)
    values = [value for at_s, _, value in record.points(name, limit.measured) if at_s >= warm_up_s]
    return Judgement(
        series=name,
        measured=limit.measured,
        owner=limit.owner,
        warm=_median(values[:FEWEST]),
        end=_median(values[-FEWEST:]),
        per_thousand=found,
        beyond=None if found is None else found - own,
        most=limit.most,
    )


def _growth(record: Record, name: str, measured: str, warm_up_s: float) -> float | None:
    points = record.points(name, measured)
    warm = [(tries / 1000, value) for at_s, tries, value in points if at_s >= warm_up_s]
    if not warm or 1000 * (warm[-1][0] - warm[0][0]) < FEWEST_TRIES:
        return None
    return growth(warm)


def _median(values: Sequence[float]) -> float | None:
    return round(median(values), 2) if values else None


def failures(record: Record, judgements: Sequence[Judgement]) -> Iterator[str]:
    """Everything by which a run fails, in words."""
    yield from (str(each) for each in judgements if each.fails)
    yield from (f"not as expected: {what}" for what in record.unexpected)
    if record.skipped:
        yield f"{record.skipped} runs were not triggered: the machine does not sustain this rate"
    yield from slower(record)
    if not any(each.per_thousand is not None for each in judgements):
        yield "the run was too short to judge growth"
        return
    yield from (f"{name}: too few samples to judge it" for name in unjudged(judgements))


def unjudged(judgements: Sequence[Judgement]) -> list[str]:
    """What of ours was measured and never judged.

    Environments of a function come and go, so one of them is enough.
    """
    ours = [each for each in judgements if each.owner == "ours"]
    judged = {_kind(each) for each in ours if each.per_thousand is not None}
    return sorted({_kind(each) for each in ours} - judged)


def _kind(judgement: Judgement) -> str:
    """What is measured, and of which kind of program: without the number of an environment."""
    return f"{judgement.series.rstrip('0123456789').rstrip()}, {judgement.measured}"


def slower(record: Record) -> Iterator[str]:
    """The parts of a task's time that grow from the second quarter of the run to the last."""
    for part in PARTS:
        minutes = record.latency.get(part, {}).get("p50", [])
        size = len(minutes) // 4
        second, last = (
            _median([each for each in quarter if each is not None])
            for quarter in (minutes[size : 2 * size], minutes[-size:] if size else [])
        )
        if len(minutes) < FEWEST_MINUTES or second is None or last is None:
            continue
        if last > max(SHORT_S, MOST_TIMES * second):
            yield f"{part}: a median of {second:g} s in the second quarter, {last:g} s in the last"
