"""The entry point of a job of AWS Batch or a task of Amazon ECS: one workload, then the end.

`python -m lambda_image.job [--timeout-s SECONDS] EVENT`, which the image's own entry point runs for
the command `job`. The event is an invocation as JSON, as a function gets it.

`one_workload` says what the exit codes mean.

Run as a program, this module holds AWS's request to stop before anything else is imported. The
kernel drops what comes earlier, while the shell and Python start, because this is process 1 of a
container: the service then kills the container, and the executor takes its word for the end.
"""

from __future__ import annotations

from lambda_image.machine import stop_request

if __name__ == "__main__":
    stop_request.hold()

import argparse
import json
import math
import os
import sys
import time
import uuid
from collections.abc import Sequence
from typing import TYPE_CHECKING, cast

from lambda_image import host, one_workload
from lambda_image.machine.container import Container
from lambda_image.machine.stop_request import StopRequest

if TYPE_CHECKING:
    from lambda_image.invocation.handling import InvocationHandler

#: Set by AWS Batch. A job that Batch starts again keeps its id.
#: https://docs.aws.amazon.com/batch/latest/userguide/job_env_vars.html
BATCH_JOB_ID = "AWS_BATCH_JOB_ID"


def main(arguments: Sequence[str]) -> int:
    """Run the workload of an event, and return the exit code."""
    host.become("job")
    given = _parsed(arguments)
    container = Container.read(os.environ)
    context = one_workload.Context(
        os.environ.get(BATCH_JOB_ID) or container.task_arn or f"job-{uuid.uuid4()}",
        container.log_stream,
        time.monotonic() + given.timeout_s,
    )
    one_workload.know_region(container.region)
    try:
        handler = _prepared(container)
    except Exception as e:  # noqa: BLE001 - whatever it is, the executor has to be told
        return one_workload.unprepared(given.event, context, e)
    return one_workload.reported(lambda: handler.handle(given.event, context))


def _prepared(container: Container) -> InvocationHandler:
    """Do what is a function's init phase, and follow AWS's request to stop from then on."""
    from lambda_image import init_phase  # noqa: PLC0415 - slow, and its errors are reported
    from lambda_image.machine import (  # noqa: PLC0415 - as above
        environment,
        fetched_credentials,
        memory,
    )

    fetched_credentials.mask()
    environment.be_named(f"job-{container.task_id or uuid.uuid4().hex}")
    memory.be_limited_to(container.memory_mb)
    request = StopRequest()
    # The imports of DAG files are not preloaded: the one task makes those that it needs.
    parts = init_phase.complete(request)
    parts.processes.start()  # Last: the workload's process starts from here.
    parts.handler.init_ms = environment.process_age_ms()
    stop_request.follow(request, one_workload.bring_forward(parts.processes))
    return parts.handler


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
    one_workload.end(main(sys.argv[1:]))
