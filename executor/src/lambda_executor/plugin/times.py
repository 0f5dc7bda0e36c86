"""How long tasks waited and ran, as percentiles. Pure."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime

from lambda_executor.ops.tasks import Ended

#: The percentiles that are shown.
SHARES = (50, 95, 99)


@dataclass(frozen=True, slots=True)
class Times:
    """The times of some tasks, in seconds."""

    waits_s: list[float] = field(default_factory=list)  # From the queue to the start.
    runs_s: list[float] = field(default_factory=list)

    def add(self, task: Ended) -> None:
        """Add those of one task."""
        if task.queued_at is not None:
            self.waits_s.append(_between(task.queued_at, task.started_at))
        self.runs_s.append(_between(task.started_at, task.ended_at))


def by_queue(tasks: Iterable[Ended]) -> Mapping[str, Times]:
    """Return the times of each queue's tasks."""
    found: dict[str, Times] = {}
    for task in tasks:
        found.setdefault(task.queue, Times()).add(task)
    return dict(sorted(found.items()))


def percentiles(values_s: Sequence[float]) -> Sequence[float | None]:
    """Return the nearest-rank percentiles `SHARES`; None: there are no values."""
    ordered = sorted(values_s)
    if not ordered:
        return [None] * len(SHARES)
    return [ordered[math.ceil(len(ordered) * share / 100) - 1] for share in SHARES]


def _between(first: datetime, second: datetime) -> float:
    """Return the seconds between two times; clocks of two machines may differ."""
    return max(0.0, (second - first).total_seconds())
