"""Airflow's tries joined with the invocations in the logs of functions and targets.

The image logs one `invocation settled` line per invocation. Pure, except for `read`.
"""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Literal, NamedTuple

from demo.machine.embedded_aws import EmbeddedAws
from demo.outcome.airflow_api import Try, TryKey
from lambda_executor.contract.log_lines import SETTLED

#: What a function is called; every other target runs jobs.
FUNCTION = "function"
#: What a target is called, by the service in the name of its log group.
SERVICES = MappingProxyType(
    {"lambda": FUNCTION, "lambda-microvms": "MicroVM", "batch": "Batch", "ecs": "ECS"}
)

#: How its execution environment began: for it, from a snapshot for it, or before it.
Start = Literal["cold", "restored", "warm"]


class LogMessage(NamedTuple):
    """One line of a log, with its log group and log stream."""

    group: str
    stream: str
    text: str


@dataclass(frozen=True, slots=True)
class LoggedInvocation:
    """One settled invocation.

    Attributes:
        target: The kind of target that ran it.
        name: The name of that function or target, as in its log group.
        environment: The execution environment, which has a log stream of its own.
        queue_to_start_ms: From the executor's queue to the handler.
    """

    key: TryKey
    target: str
    name: str
    environment: str
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


def parse(message: LogMessage) -> LoggedInvocation | None:
    """The invocation of a task that a line of a log settles; None: it settles none."""
    try:
        line = json.loads(message.text)
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
        target=SERVICES.get(message.group.split("/")[2], message.group),
        name=message.group.rpartition("/")[2],
        environment=message.stream,
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


def log_messages(aws: EmbeddedAws, prefixes: Iterable[str]) -> Iterator[LogMessage]:
    """Every line in the log groups whose names begin with one of the prefixes."""
    logs = aws.client("logs")
    groups, events = (
        logs.get_paginator(name) for name in ("describe_log_groups", "filter_log_events")
    )
    for prefix in prefixes:
        pages = groups.paginate(logGroupNamePrefix=prefix)
        for name in [group["logGroupName"] for page in pages for group in page["logGroups"]]:
            for page in events.paginate(logGroupName=name):
                for event in page["events"]:
                    yield LogMessage(name, event["logStreamName"], event["message"])


def read(aws: EmbeddedAws, prefixes: Iterable[str]) -> list[LoggedInvocation]:
    """Every settled invocation in the log groups, as in `log_messages`."""
    return [found for line in log_messages(aws, prefixes) if (found := parse(line))]


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
