"""The entry point of a job of AWS Batch or a task of Amazon ECS: one workload, then the end.

`python -m lambda_image.job [--timeout-s SECONDS] EVENT`, which the image's own entry point runs for
the command `job`. The event is an invocation as JSON, as a function gets it.

The exit code is 0 if the result was sent, however the task ended: a service that saw a failed task
as a failed job would start it again beside Airflow's own retry. Otherwise nobody was told, and it
is 1.

Importing this module holds AWS's request to stop, before anything else is imported. The kernel
drops what comes earlier, while the shell and Python start, because this is process 1 of a
container: the service then kills the container, and the executor takes its word for the end.
"""

from __future__ import annotations

from lambda_image.machine import stop_request

stop_request.hold()

import argparse  # noqa: E402 - the signal first
import contextlib  # noqa: E402
import json  # noqa: E402
import math  # noqa: E402
import os  # noqa: E402
import sys  # noqa: E402
import time  # noqa: E402
import uuid  # noqa: E402
from collections.abc import Callable, Sequence  # noqa: E402
from dataclasses import dataclass  # noqa: E402
from typing import TYPE_CHECKING, NoReturn, cast  # noqa: E402

from lambda_image import host  # noqa: E402
from lambda_image.logs import invocation_log, log_output  # noqa: E402
from lambda_image.machine.container import Container  # noqa: E402
from lambda_image.machine.stop_request import StopRequest  # noqa: E402

if TYPE_CHECKING:
    from lambda_image.invocation.handling import InvocationHandler

#: Set by AWS Batch. A job that Batch starts again keeps its id.
#: https://docs.aws.amazon.com/batch/latest/userguide/job_env_vars.html
BATCH_JOB_ID = "AWS_BATCH_JOB_ID"

#: What the clients of AWS take the Region from. AWS sets one on Fargate, and none on instances.
_REGION_VARIABLES = ("AWS_REGION", "AWS_DEFAULT_REGION")

#: How long the result of a job that could not begin is sent, in seconds.
_SEND_S = 20.0


@dataclass(frozen=True, slots=True)
class JobContext:
    """The circumstances of a job, as Lambda's runtime gives them to a handler."""

    aws_request_id: str
    log_stream_name: str | None
    ends_at_s: float  # On the monotonic clock; infinite without a time-out.

    def get_remaining_time_in_millis(self) -> float:
        """The time until the job's time-out."""
        return (self.ends_at_s - time.monotonic()) * 1000


def main(arguments: Sequence[str]) -> int:
    """Run the workload of an event, and return the exit code."""
    host.become_job()
    given = _parsed(arguments)
    container = Container.read(os.environ)
    context = JobContext(
        os.environ.get(BATCH_JOB_ID) or container.task_arn or f"job-{uuid.uuid4()}",
        container.log_stream,
        time.monotonic() + given.timeout_s,
    )
    if container.region and not any(map(os.environ.get, _REGION_VARIABLES)):
        os.environ.update(dict.fromkeys(_REGION_VARIABLES, container.region))
    try:
        handler = _prepared(container)
    except Exception as e:  # noqa: BLE001 - whatever it is, the executor has to be told
        why = f"nothing was started: the job cannot prepare itself: {type(e).__name__}: {e}"
        return _reported(lambda: _reject(given.event, context, why))
    return _reported(lambda: handler.handle(given.event, context))


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


def _prepared(container: Container) -> InvocationHandler:
    """Do what is a function's init phase, and follow AWS's request to stop from then on."""
    from lambda_image import init_phase  # noqa: PLC0415 - slow, and its errors are reported
    from lambda_image.machine import (  # noqa: PLC0415 - as above
        environment,
        fetched_credentials,
        memory,
        time_limit,
    )

    fetched_credentials.mask()
    environment.be_named(f"job-{container.task_id or uuid.uuid4().hex}")
    memory.be_limited_to(container.memory_mb)
    request = StopRequest()
    # The imports of DAG files are not preloaded: the one task makes those that it needs.
    parts = init_phase.complete(request)
    parts.processes.start()  # Last: the workload's process starts from here.
    parts.handler.init_ms = environment.process_age_ms()

    def bring_forward() -> None:
        parts.processes.hasten()
        time_limit.renew()

    stop_request.follow(request, bring_forward)
    return parts.handler


def _reject(event: object, context: JobContext, reason: str) -> None:
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
    invocation_log.write("error", "the job cannot prepare itself", reason=reason)


def _reported(report: Callable[[], object]) -> int:
    """The exit code of what sends a result, or raises."""
    try:
        report()
    except Exception as e:  # noqa: BLE001 - the reason must be in the job's log, as every line is
        reason = f"{type(e).__name__}: {e}"
        invocation_log.write("error", "the job has not reported its result", reason=reason)
        return 1
    return 0


def _parsed(arguments: Sequence[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="job", description="Run the workload of one invocation, send its result, and end."
    )
    parser.add_argument("event", type=_json, metavar="EVENT", help="the invocation, as JSON")
    parser.add_argument(
        "--timeout-s",
        type=_seconds,
        default=math.inf,
        metavar="SECONDS",
        help="when the job must have ended; default: never",
    )
    return parser.parse_args(arguments)


def _json(text: str) -> object:
    try:
        return cast("object", json.loads(text))
    except (ValueError, RecursionError) as e:
        raise argparse.ArgumentTypeError("it is not JSON") from e


def _seconds(text: str) -> float:
    try:
        seconds = float(text)
    except ValueError:
        seconds = math.nan
    if not seconds > 0:
        raise argparse.ArgumentTypeError(f"{text!r} is no positive number of seconds")
    return seconds


if __name__ == "__main__":
    end(main(sys.argv[1:]))
