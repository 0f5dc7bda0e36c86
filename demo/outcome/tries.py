"""Airflow's tries joined with the invocations in the function's log.

The handler logs one `invocation settled` line per invocation. Pure, except for `read`.
"""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Literal

from demo.machine.embedded_aws import EmbeddedAws
from demo.outcome.airflow_api import Try, TryKey
from lambda_executor.contract.log_lines import SETTLED

#: How its execution environment began: for it, from a snapshot for it, or before it.
Start = Literal["cold", "restored", "warm"]


@dataclass(frozen=True, slots=True)
class LoggedInvocation:
    """One settled invocation; `queue_to_start_ms` is from the executor's queue to the handler."""

    key: TryKey
    outcome: str
    start: Start
    queue_to_start_ms: float | None
    run_ms: float
    started_at_s: float


@dataclass(frozen=True, slots=True)
class Row:
    """One line of the table: a try, or one of its invocations; `was_run` is Airflow's view."""

    key: TryKey
    state: str
    invocation: LoggedInvocation | None
    was_run: bool


def parse(message: str) -> LoggedInvocation | None:
    """The invocation of a task that this log line settles; None: it settles none."""
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
            # Airflow omits the index of an unmapped task.
            map_index=-1 if line["map_index"] is None else line["map_index"],
            try_number=line["try_number"],
        ),
        outcome=line["outcome"],
        start=_start(line),
        queue_to_start_ms=line["queue_to_start_ms"],
        run_ms=line["run_ms"],
        started_at_s=line["started_at_s"],
    )


def _start(line: Mapping[str, object]) -> Start:
    if not line["cold"]:
        return "warm"
    return "cold" if line["restore_ms"] is None else "restored"


def log_messages(aws: EmbeddedAws, log_groups: str) -> Iterator[str]:
    """Every line in the functions' log groups; `log_groups` is what their names begin with."""
    logs = aws.client("logs")
    groups = logs.get_paginator("describe_log_groups").paginate(logGroupNamePrefix=log_groups)
    events = logs.get_paginator("filter_log_events")
    for name in [group["logGroupName"] for page in groups for group in page["logGroups"]]:
        for page in events.paginate(logGroupName=name):
            yield from (event["message"] for event in page["events"])


def read(aws: EmbeddedAws, log_groups: str) -> list[LoggedInvocation]:
    """Every settled invocation in the functions' log groups, as in `log_messages`."""
    return [found for message in log_messages(aws, log_groups) if (found := parse(message))]


def join(tries: Iterable[Try], invocations: Iterable[LoggedInvocation]) -> list[Row]:
    """One row for each invocation, and one for each try that needed none.

    A try with several invocations was deferred: all but the last are `deferred`. A `duplicate` is a
    second delivery and does not count.
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
    # Show an invocation of a try that Airflow does not know: it is a fault.
    for key, unknown in by_try.items():
        rows.extend(Row(key, "unknown", one, was_run=True) for one in unknown)
    return rows
