"""One way to run tasks, in a process of its own, one task at a time and timed.

`python -m tests.bench.worker <way> <file descriptor> <CPUs>` reads one event a line and writes to
the descriptor what each took. It imports nothing that its way to run tasks does not need: its
start is what a cold start is measured by.
"""

from __future__ import annotations

import contextlib
import json
import os
import sys
import time
from collections.abc import Callable
from typing import Any, Literal

Way = Literal["ours", "reference", "LocalExecutor"]
Run = Callable[[dict[str, Any]], None]


class Context:
    """What handlers read of Lambda's context object."""

    aws_request_id = "00000000-0000-0000-0000-000000000000"
    log_stream_name = "2026/01/01/[$LATEST]0"
    #: The longest that Lambda gives.
    remaining_ms = 900_000

    def get_remaining_time_in_millis(self) -> int:
        """As if every invocation had just begun."""
        return self.remaining_ms


def ours() -> Run:
    """Our handler."""
    from lambda_image.handler import lambda_handler  # noqa: PLC0415 - the start is measured

    def run(event: dict[str, Any]) -> None:
        lambda_handler(event, Context())

    return run


def reference() -> Run:
    """The reference's, which lies as `app.py` in the working directory."""
    import importlib  # noqa: PLC0415 - as above
    import logging  # noqa: PLC0415

    # Lambda's runtime sets a handler up; without one nothing that it logs would be formatted.
    logging.basicConfig(stream=sys.stdout)
    sys.path.insert(0, os.getcwd())  # noqa: PTH109 - no further import
    app = importlib.import_module("app")

    def run(event: dict[str, Any]) -> None:
        app.lambda_handler(event, Context())

    return run


def local_executor() -> Run:
    """Airflow's LocalExecutor with one worker, forked as it is from a scheduler's process."""
    from multiprocessing.connection import wait  # noqa: PLC0415 - as above

    import airflow.jobs.scheduler_job_runner  # noqa: F401, PLC0415 - what a scheduler has loaded
    from airflow.executors.local_executor import LocalExecutor  # noqa: PLC0415
    from airflow.executors.workloads import ExecuteTask  # noqa: PLC0415

    executor = LocalExecutor(parallelism=1)  # type: ignore[no-untyped-call]
    executor.start()

    def run(event: dict[str, Any]) -> None:
        workload = ExecuteTask.model_validate_json(event["command"][-1])
        executor.queue_workload(workload, session=None)  # type: ignore[arg-type]
        executor.heartbeat()
        while executor.event_buffer.get(workload.ti.key, (None,))[0] not in ("success", "failed"):
            wait([executor.result_queue._reader])  # type: ignore[attr-defined]
            executor.sync()

    return run


WAYS: dict[Way, Callable[[], Run]] = {
    "ours": ours,
    "reference": reference,
    "LocalExecutor": local_executor,
}


def cpu_s() -> float:
    """Processor time of this process and of all that it has started, ended or not."""
    total = 0
    pids = [os.getpid()]
    while pids:
        folder = f"/proc/{pids.pop()}"
        with contextlib.suppress(FileNotFoundError):  # It has just ended, its parent has its time.
            with open(f"{folder}/stat") as stat:  # noqa: PTH123 - no further import
                total += sum(map(int, stat.read().rpartition(")")[2].split()[11:15]))
            for thread in os.listdir(f"{folder}/task"):  # noqa: PTH208 - likewise
                with open(f"{folder}/task/{thread}/children") as children:  # noqa: PTH123
                    pids += map(int, children.read().split())
    return total / os.sysconf("SC_CLK_TCK")


def main(way: Way, answers_fd: int, cpus: int) -> None:
    """Get ready, then run every event that comes."""
    os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[:cpus])
    run = WAYS[way]()
    with os.fdopen(answers_fd, "w") as answers:
        for line in sys.stdin:
            event = json.loads(line)
            cpu_before_s, began_s = cpu_s(), time.perf_counter()
            run(event)
            wall_s = time.perf_counter() - began_s
            figures = {"wall_s": wall_s, "cpu_s": cpu_s() - cpu_before_s}
            print(json.dumps(figures), file=answers, flush=True)


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]), int(sys.argv[3]))  # type: ignore[arg-type]
