"""The one table of the executor's metrics; the documentation is generated from it.

They go out through Airflow's own statistics (statsd, OpenTelemetry, Datadog), under these names.
"""

from __future__ import annotations

#: Name without the prefix, kind, and what it says.
METRICS: dict[str, tuple[str, str]] = {
    "pending": ("gauge", "Invocations accepted from the scheduler and not yet taken by Lambda."),
    "in_flight": ("gauge", "Invocations taken by Lambda and not yet settled."),
    "oldest_unacknowledged_s": (
        "gauge",
        "Seconds since the oldest result that the scheduler was given and has not yet taken.",
    ),
    "dispatch_ms": ("timer", "From the scheduler's hand-over to Lambda's answer."),
    "queue_to_start_ms": ("timer", "From the scheduler's hand-over to the handler's entry."),
    "result_ms": ("timer", "From the result's arrival in the queue to its event in Airflow."),
    "throttles": ("counter", "Invokes that Lambda asked to repeat later."),
    "duplicates": ("counter", "Second starts of an invocation; they settled nothing."),
    "dead_letters": ("counter", "Invocations that Lambda gave up on, by the tag `reason`."),
    "reconciled": ("counter", "Invocations released because Airflow did not wait for them."),
    "messages_received": ("counter", "Messages received from the queues."),
    "messages_deleted": ("counter", "Messages deleted after the scheduler took their event."),
    "messages_malformed": ("counter", "Messages removed because nobody can read them."),
    "messages_handed_back": ("counter", "Messages of other schedulers, made visible again."),
}


def metric(name: str) -> str:
    """The full name of a metric.

    Raises:
        KeyError: The table does not have it.
    """
    METRICS[name]
    return f"lambda_executor.{name}"


def as_markdown() -> str:
    """The reference page `docs/reference/metrics.md`."""
    rows = "\n".join(
        f"| `{metric(name)}` | {kind} | {text} |" for name, (kind, text) in METRICS.items()
    )
    return f"""# Metrics

Generated from `lambda_executor.core.metrics` by `make docs`.

The executor reports through Airflow's own statistics: what `[metrics]` of Airflow's configuration
sends to statsd, OpenTelemetry or Datadog has these too.

| metric | kind | what it says |
|---|---|---|
{rows}
"""


if __name__ == "__main__":
    print(as_markdown(), end="")  # noqa: T201 - its output is the page
