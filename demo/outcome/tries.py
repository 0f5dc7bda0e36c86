"""What the function's log tells about each invocation, joined with Airflow's tries.

Pure but for `read`, which asks the CloudWatch Logs API. The log line is the handler's: one
`invocation settled` for each invocation.
"""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from demo.machine.embedded_aws import EmbeddedAws
from demo.outcome.airflow_api import Try, TryKey
from lambda_executor.contract.log_lines import SETTLED


@dataclass(frozen=True, slots=True)
class LoggedInvocation:
    """One settled invocation.

    Attributes:
        key: The try that it ran.
        outcome: The handler's word: `completed`, `duplicate`, ...
        cold: Whether the execution environment was started for it.
        queue_to_start_ms: From the executor's queue to the handler.
        run_ms: In the handler.
        started_at_s: For the order.
    """

    key: TryKey
    outcome: str
    cold: bool
    queue_to_start_ms: float | None
    run_ms: float
    started_at_s: float


@dataclass(frozen=True, slots=True)
class Row:
    """One line of the table: a try, or one of the invocations that a try took.

    Attributes:
        key: Which try.
        state: What it came to, in Airflow's words; `deferred` where the same try came back.
        invocation: None when no function ran it: skipped tasks, empty operators.
        was_run: Whether Airflow says that it ran somewhere.
    """

    key: TryKey
    state: str
    invocation: LoggedInvocation | None
    was_run: bool


def parse(message: str) -> LoggedInvocation | None:
    """An invocation, if the log line settles one that ran a task."""
    try:
        line = json.loads(message)
    except ValueError:
        return None
    if not isinstance(line, Mapping) or line.get("event") != SETTLED or line.get("dag_id") is None:
        return None
    return LoggedInvocation(
        key=TryKey(
            dag_id=line["dag_id"],
            run_id=line["run_id"],
            task_id=line["task_id"],
            # Airflow leaves the index of an unmapped task out.
            map_index=-1 if line["map_index"] is None else line["map_index"],
            try_number=line["try_number"],
        ),
        outcome=line["outcome"],
        cold=bool(line["cold"]),
        queue_to_start_ms=line["queue_to_start_ms"],
        run_ms=line["run_ms"],
        started_at_s=line["started_at_s"],
    )


def read(aws: EmbeddedAws, log_group: str) -> list[LoggedInvocation]:
    """Every settled invocation in the function's log group."""
    pages = aws.client("logs").get_paginator("filter_log_events").paginate(logGroupName=log_group)
    messages: Iterable[Any] = (event["message"] for page in pages for event in page["events"])
    return [found for message in messages if (found := parse(message))]


def join(tries: Iterable[Try], invocations: Iterable[LoggedInvocation]) -> list[Row]:
    """One row for each invocation, and one for each try that needed none.

    A try that took several invocations left the function to wait and came back: all but the last
    are `deferred`. A `duplicate` is a second delivery and says nothing about the state.
    """
    by_try: dict[TryKey, list[LoggedInvocation]] = defaultdict(list)
    for invocation in invocations:
        by_try[invocation.key].append(invocation)
    rows = []
    for each in tries:
        was_run = bool(each.hostname)
        taken = sorted(by_try.pop(each.key, []), key=lambda one: one.started_at_s)
        if not taken:
            rows.append(Row(each.key, each.state, None, was_run))
        last = next((one for one in reversed(taken) if one.outcome != "duplicate"), None)
        for one in taken:
            state = each.state if one is last else "deferred"
            rows.append(
                Row(each.key, "duplicate" if one.outcome == "duplicate" else state, one, was_run)
            )
    # An invocation of a try that Airflow does not know of is a fault to be seen, not to be dropped.
    for key, unknown in by_try.items():
        rows.extend(Row(key, "unknown", one, was_run=True) for one in unknown)
    return rows
