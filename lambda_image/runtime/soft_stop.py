"""How a task is asked to stop, in its own process: just as its `execution_timeout` would end it.

The zygote sends a signal. What Airflow does with `AirflowTaskTimeout` is the rest: the task becomes
`failed` or `up_for_retry`, its callbacks run, its log is written. It must not know when it is time.
"""

from __future__ import annotations

import signal
from types import FrameType
from typing import Any

import structlog
from airflow.sdk import get_current_context

from lambda_image.machine.zygote import STOP_SIGNAL
from lambda_image.runtime.compat import AirflowTaskTimeout


def install(words: str) -> None:
    """Wait for the signal; in a task's process, before anything of the task.

    Args:
        words: What the task's log says then.
    """

    def stop(_number: int, _frame: FrameType | None) -> None:
        structlog.get_logger(logger_name="task").error(words)
        _kill_what_it_started()
        raise AirflowTaskTimeout(words)

    signal.signal(STOP_SIGNAL, stop)


def _kill_what_it_started() -> None:
    """Call the operator's `on_kill`, which Airflow does itself where there is a time-out."""
    try:
        task: Any = get_current_context()["task"]
    except RuntimeError:  # Before the task, or in a callback that has none.
        return
    if task.execution_timeout is not None:
        return
    try:
        task.on_kill()
    except Exception:  # noqa: BLE001 - an operator's own code
        structlog.get_logger(logger_name="task").exception("on_kill failed")
