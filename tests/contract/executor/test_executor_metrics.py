"""What the executor does can be seen from outside, through Airflow's own statistics."""

from __future__ import annotations

from typing import Any

import pytest

from lambda_executor.contract.errors import InDoubtError, ThrottledError
from lambda_executor.contract.wire import InvocationId, Outcome, Result
from lambda_executor.core.metrics import METRICS
from lambda_executor.scheduler import executor
from tests.support.scheduler import Scheduler, workload


class Stats:
    """Airflow's statistics, kept."""

    def __init__(self) -> None:
        self.counters: dict[str, float] = {}
        self.gauges: dict[str, float] = {}
        self.timings: dict[str, list[float]] = {}
        self.tags: dict[str, Any] = {}

    def incr(self, name: str, count: int = 1, *, tags: Any = None) -> None:
        """Count."""
        self.counters[name] = self.counters.get(name, 0) + count
        self.tags[name] = tags

    def gauge(self, name: str, value: float) -> None:
        """Set."""
        self.gauges[name] = value

    def timing(self, name: str, value: float) -> None:
        """Time."""
        self.timings.setdefault(name, []).append(value)


@pytest.fixture
def stats(monkeypatch: pytest.MonkeyPatch) -> Stats:
    """The executor reports to this."""
    stats = Stats()
    monkeypatch.setattr(executor, "stats", stats)
    return stats


def test_everything_that_happens_is_reported(stats: Stats, scheduler: Scheduler) -> None:
    """One of each, and every metric of the table but those of the reconciler and of jobs."""
    scheduler.function.failures.append(ThrottledError("429"))
    scheduler.function.lost_answers.append(InDoubtError("the connection was closed"))
    one, two = workload("one"), workload("two")
    first, second = scheduler.queue(one, two)
    scheduler.results.send("malformed")
    scheduler.results.reply(InvocationId("foreign"))
    scheduler.results.send(Result(first, 0, Outcome.DUPLICATE))
    scheduler.results.send(Result(first, 0, queue_to_start_ms=12.5))
    scheduler.dead_letters.send(f'{{"task_key": "{second}"}}', {"ErrorMessage": "signal: killed"})
    scheduler.loop_until(lambda: len(scheduler.ends()) == 2)
    assert stats.gauges["lambda_executor.oldest_unacknowledged_s"] >= 0
    scheduler.executor.get_event_buffer()
    scheduler.loop_until(lambda: stats.counters.get("lambda_executor.messages_deleted", 0) >= 4)
    counted = {
        name: stats.counters[f"lambda_executor.{name}"]
        for name in ("throttles", "in_doubt", "duplicates")
    }
    assert counted == {"throttles": 1, "in_doubt": 1, "duplicates": 1}
    assert stats.timings["lambda_executor.queue_to_start_ms"] == [12.5]
    assert stats.tags["lambda_executor.dead_letters"] == {"reason": "killed"}
    elsewhere = {"reconciled", "messages_unclaimed", "job_ends"}
    seen = {*stats.counters, *stats.gauges, *stats.timings}
    assert seen == {f"lambda_executor.{name}" for name in METRICS if name not in elsewhere}
