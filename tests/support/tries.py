"""Airflow's tries and logged invocations, as the demo reads them."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

from demo.outcome.airflow_api import Try, TryKey
from demo.outcome.tries import LoggedInvocation, LogMessage

KEY = TryKey(dag_id="dag", run_id="demo", task_id="task", map_index=-1, try_number=1)
NAME = "airflow-lambda-local"
GROUP = f"/aws/lambda/{NAME}"
STREAM = "2030/01/01/[1]0123456789abcdef"


def logged(text: str, group: str = GROUP) -> LogMessage:
    """A line of a log."""
    return LogMessage(group, STREAM, text)


def line(**changes: Any) -> str:
    """The log line of a settled invocation."""
    fields = {
        "timestamp": "2030-01-01T00:00:00.000+00:00",
        "level": "info",
        "event": "invocation settled",
        "dag_id": "dag",
        "task_id": "task",
        "run_id": "demo",
        "map_index": -1,
        "try_number": 1,
        "invocation_id": "5",
        "request_id": "6",
        "outcome": "completed",
        "return_code": 0,
        "reason": "",
        "cold": False,
        "init_ms": None,
        "restore_ms": None,
        "run_ms": 50.0,
        "queue_to_start_ms": 20.0,
        "started_at_s": 100.0,
    }
    return json.dumps(fields | changes)


def invocation(key: TryKey = KEY, **changes: Any) -> LoggedInvocation:
    """A completed warm invocation."""
    made = LoggedInvocation(
        key,
        "function",
        NAME,
        STREAM,
        "completed",
        "warm",
        queue_to_start_ms=20.0,
        run_ms=50.0,
        started_at_s=100.0,
    )
    return replace(made, **changes)


def ran(key: TryKey = KEY, state: str = "success") -> Try:
    """A try that Airflow says ran on some host."""
    return Try(key, state, hostname="function")
