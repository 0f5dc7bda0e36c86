"""Stops a task from inside its own process, the way its `execution_timeout` would.

The zygote's signals raise `AirflowTaskTimeout` in the task. Airflow does the rest: the task becomes
`failed` or `up_for_retry`, its callbacks run, its log is written.
"""

from __future__ import annotations

import signal
from collections.abc import Mapping
from types import FrameType
from typing import Any

import structlog
from airflow.sdk import get_current_context

from lambda_image.runtime.compat import AirflowTaskTimeout


def install(reasons: Mapping[int, str]) -> None:
    """Handle these signals from now on; the task's log then says why it was stopped.

    One that has come before is handled at once: the zygote forks its children with them blocked.
    """

    def stop(number: int, _frame: FrameType | None) -> None:
        structlog.get_logger(logger_name="task").error(reasons[number])
        _call_on_kill()
        raise AirflowTaskTimeout(reasons[number])

    for number in reasons:
        signal.signal(number, stop)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, reasons)


def _call_on_kill() -> None:
    """Call the operator's `on_kill`; Airflow does so itself for a task with `execution_timeout`."""
    try:
        task: Any = get_current_context()["task"]
    except RuntimeError:  # The task has not started, or this is a callback without one.
        return
    if task.execution_timeout is not None:
        return
    try:
        task.on_kill()
    except Exception:  # noqa: BLE001 - an operator's own code
        structlog.get_logger(logger_name="task").exception("on_kill failed")
