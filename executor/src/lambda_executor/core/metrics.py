"""The executor's metrics: the table from which their page is generated, and their `Meter`."""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Any, Protocol

log = logging.getLogger(__name__)

#: Kind and meaning of each metric, by its name without the prefix.
METRICS: dict[str, tuple[str, str]] = {
    "pending": ("gauge", "Invocations accepted from the scheduler and not yet taken by AWS."),
    "held": (
        "gauge",
        "Those of the pending that wait only because their function runs as many as it may.",
    ),
    "in_flight": ("gauge", "Invocations taken by AWS and not yet settled."),
    "oldest_unacknowledged_s": (
        "gauge",
        "Age in seconds of the oldest result whose event the scheduler has not yet taken.",
    ),
    "dispatch_ms": ("timer", "From the scheduler's hand-over to AWS's answer."),
    "queue_to_start_ms": ("timer", "From the scheduler's hand-over to the handler's entry."),
    "result_ms": ("timer", "From the result's arrival in the queue to its event in Airflow."),
    "throttles": ("counter", "Sends that AWS throttled; they are repeated later."),
    "in_doubt": (
        "counter",
        "Invocations that stay in flight because AWS may have taken them without an answer.",
    ),
    "duplicates": ("counter", "Second starts of an invocation; they settled nothing."),
    "dead_letters": ("counter", "Invocations that Lambda gave up on, by the tag `reason`."),
    "job_ends": (
        "counter",
        "Jobs of which their service, the tag `service`, told the end because no result came.",
    ),
    "reconciled": ("counter", "Invocations released because Airflow no longer waited for them."),
    "messages_received": ("counter", "Messages received from the queues."),
    "messages_deleted": (
        "counter",
        "Messages deleted: those whose event the scheduler took, and those of the next two rows.",
    ),
    "messages_malformed": ("counter", "Messages deleted because they are malformed."),
    "messages_unclaimed": (
        "counter",
        "Messages deleted because no scheduler claims them and Airflow does not wait for them.",
    ),
    "messages_handed_back": ("counter", "Messages of other schedulers, made visible again."),
}


def metric(name: str) -> str:
    """Return the full name of a metric.

    Raises:
        KeyError: The metric is not in the table.
    """
    METRICS[name]
    return f"lambda_executor.{name}"


class Statistics(Protocol):
    """A receiver of metrics, in the shape of Airflow's `Stats`."""

    def incr(self, stat: str, count: int = 1, *, tags: dict[str, Any] | None = None) -> None:
        """Increase a counter."""

    def gauge(self, stat: str, value: float) -> None:
        """Set a gauge."""

    def timing(self, stat: str, dt: float) -> None:
        """Record a duration in milliseconds."""


class Meter:
    """Sends metrics under their full names; an error of the receiver is only logged.

    Args:
        statistics: The receiver.
    """

    def __init__(self, statistics: Statistics) -> None:
        self._statistics = statistics

    def count(self, name: str, count: int = 1, **tags: str) -> None:
        """Increase a counter."""
        self._send(self._statistics.incr, name, count, **({"tags": tags} if tags else {}))

    def gauge(self, name: str, value: float) -> None:
        """Set a gauge."""
        self._send(self._statistics.gauge, name, value)

    def time(self, name: str, milliseconds: float) -> None:
        """Record a duration."""
        self._send(self._statistics.timing, name, milliseconds)

    @staticmethod
    def _send(send: Callable[..., None], name: str, value: float, **tags: Any) -> None:  # noqa: ANN401 - tags
        try:
            send(metric(name), value, **tags)
        except Exception:
            log.exception("Could not report %s", name)


def as_markdown() -> str:
    """Return the reference page `docs/reference/metrics.md`."""
    rows = "\n".join(
        f"| `{metric(name)}` | {kind} | {text} |" for name, (kind, text) in METRICS.items()
    )
    return f"""# Metrics

Generated from `lambda_executor.core.metrics` by `make docs`.

The executor reports through Airflow's own statistics: `[metrics]` of Airflow's configuration sends
them to statsd, OpenTelemetry or Datadog.

| metric | kind | meaning |
|---|---|---|
{rows}
"""


if __name__ == "__main__":
    print(as_markdown(), end="")  # noqa: T201 - its output is the page
