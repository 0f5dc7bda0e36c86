"""What a job and a MicroVM have in common: each runs one workload, sends its result, and ends.

The exit code is 0 if the result was sent, however the task ended: a service that saw a failed task
as a failed job would start it again beside Airflow's own retry. Otherwise nobody was told, and it
is 1.

Importing this module imports neither Airflow nor a client of AWS.
"""

from __future__ import annotations

import contextlib
import os
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, NoReturn

from lambda_image import host
from lambda_image.logs import invocation_log, log_output

if TYPE_CHECKING:
    from lambda_image.runtime.processes import Processes
    from lambda_image.runtime.stock_processes import StockProcesses

#: What the clients of AWS take the Region from; boto3 only from the second one.
_REGION_VARIABLES = ("AWS_REGION", "AWS_DEFAULT_REGION")

#: How long the result of a workload that could not begin is sent, in seconds.
_SEND_S = 20.0


@dataclass(frozen=True, slots=True)
class Context:
    """The circumstances of the workload, as Lambda's runtime gives them to a handler."""

    aws_request_id: str
    log_stream_name: str | None
    ends_at_s: float  # On the monotonic clock; infinite without a time-out.

    def get_remaining_time_in_millis(self) -> float:
        """The time until the time-out."""
        return (self.ends_at_s - time.monotonic()) * 1000


def know_region(otherwise: str | None = None) -> None:
    """Have every client of AWS know the Region of which AWS has set at least one variable, or this.

    AWS sets both in a function and on Fargate, one in a MicroVM, and none on an instance.
    """
    given = [os.environ.get(name) for name in _REGION_VARIABLES]
    if region := next(filter(None, [*given, otherwise]), None):
        for name, value in zip(_REGION_VARIABLES, given, strict=True):
            os.environ[name] = value or region


def reported(report: Callable[[], object]) -> int:
    """The exit code of what sends the result, or raises."""
    try:
        report()
    except Exception as e:  # noqa: BLE001 - the reason must be in the log, as every line is
        reason = f"{type(e).__name__}: {e}"
        event = f"the {host.name()} has not reported its result"
        invocation_log.write("error", event, reason=reason)
        return 1
    return 0


def unprepared(event: object, context: Context, error: Exception) -> int:
    """Report that nothing was started because of this error; returns the exit code."""
    failed = f"the {host.name()} cannot prepare itself"
    reason = f"nothing was started: {failed}: {type(error).__name__}: {error}"

    def report() -> None:
        _reject(event, context, reason)
        invocation_log.write("error", failed, reason=reason)

    return reported(report)


def bring_forward(processes: Processes | StockProcesses) -> Callable[[], None]:
    """What is to be called, on any thread, once AWS has asked this process to stop."""
    from lambda_image.machine import time_limit  # noqa: PLC0415 - a signal is held before it

    def do() -> None:
        processes.hasten()
        time_limit.renew()

    return do


def end(code: int) -> NoReturn:
    """End this process now, as a function's is ended.

    Python would wait for threads, and call what libraries have registered: without an end, perhaps,
    and a job is paid for until it has ended.
    """
    from lambda_image.machine import environment  # noqa: PLC0415 - slow

    environment.clean_up()
    log_output.end_line()
    for stream in (sys.stdout, sys.stderr):
        with contextlib.suppress(OSError, ValueError):  # Nobody reads it, or it is closed.
            stream.flush()
    os._exit(code)


def _reject(event: object, context: Context, reason: str) -> None:
    """Send the result of an invocation that was not started.

    Raises:
        LambdaExecutorError: It cannot be sent.
    """
    from lambda_executor.contract.wire import Invocation, Outcome, Result  # noqa: PLC0415
    from lambda_image.invocation.reporter import Reporter  # noqa: PLC0415 - slow

    invocation = Invocation.decode(event)
    reporter = Reporter.from_environment()
    result = Result(
        invocation.id,
        return_code=1,
        outcome=Outcome.REJECTED,
        reason=reason,
        request_id=context.aws_request_id,
        log_stream=context.log_stream_name,
    )
    queue_url = reporter.queue_url(invocation.reply_to)
    reporter.send(queue_url, result, time.monotonic() + _SEND_S)
