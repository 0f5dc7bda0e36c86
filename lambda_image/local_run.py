"""The entry point of `airflow lambda-executor run`: one workload on a developer's machine.

`python -m lambda_image.local_run ORDER REPORT TERMINAL`, with three descriptors: from the first it
reads an `Order`, to the second it writes what it sees (`lambda_executor.contract.local_run`), on
the third pdb talks. The workload takes the same way as in a function: the init phase, the zygote,
Airflow's supervisor, the deadline. Only the invocation around it is missing, with event and result.
"""

from __future__ import annotations

import ctypes
import os
import resource
import select
import signal
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from typing import TYPE_CHECKING, Any, cast

import boto3

from lambda_executor.contract.lambda_limits import DESCRIPTORS
from lambda_executor.contract.local_run import Ended, Order
from lambda_image import one_workload
from lambda_image.machine import debugging, writes
from lambda_image.machine.consumption import Consumption

if TYPE_CHECKING:
    from lambda_image.deadline import Deadline
    from lambda_image.machine.temporary import TemporaryFolder

#: For a developer who has set none. A function always has one.
_REGION = "us-east-1"
_PR_SET_PDEATHSIG = 1


def main(order_fd: int, report_fd: int, terminal_fd: int) -> None:
    """Run the workload of an order, and report."""
    for fd in (report_fd, terminal_fd):
        os.set_inheritable(fd, False)
    _end_with_the_command(report_fd)
    with os.fdopen(order_fd, encoding="utf-8") as file:
        order = Order.decode(file.read())
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    few = DESCRIPTORS if most == resource.RLIM_INFINITY else min(DESCRIPTORS, most)
    resource.setrlimit(resource.RLIMIT_NOFILE, (few, few))
    # Before the zygote, from which the task's process has it.
    debugging.install(order, terminal_fd)
    writes.report_to(report_fd)
    os.write(report_fd, f"{_run(order).encode()}\n".encode())


def _end_with_the_command(report_fd: int) -> None:
    """Have the kernel kill this process when its parent dies; the zygote then ends the task.

    https://man7.org/linux/man-pages/man2/PR_SET_PDEATHSIG.2const.html
    """
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
    pipe = select.poll()
    pipe.register(report_fd, 0)
    if pipe.poll(0):  # Nobody reads it: the command died before.
        sys.exit(1)


def _run(order: Order) -> Ended:
    one_workload.know_region(boto3.Session().region_name or _REGION)
    from lambda_image import init_phase  # noqa: PLC0415 - the limits come first
    from lambda_image.deadline import Margins  # noqa: PLC0415 - as above
    from lambda_image.logs import log_output  # noqa: PLC0415 - as above
    from lambda_image.logs.invocation_log import WorkloadFacts  # noqa: PLC0415 - as above
    from lambda_image.machine.stop_request import StopRequest  # noqa: PLC0415 - as above

    parts = init_phase.complete(StopRequest())
    parts.processes.start()  # Last: the workload's process starts from here.
    consumption = Consumption(order.memory_mb, is_enforced=not order.debugger)
    parts.runner.temporary = cast(
        "TemporaryFolder", _Measured(parts.runner.temporary, consumption.measure_tmp)
    )
    log_output.about({}, WorkloadFacts.read(order.workload).token)
    started_s = time.monotonic()
    deadline = Margins.from_environment(os.environ).deadline(order.timeout_s, started_s)
    stop_at_s = deadline.times.stop_at_s - started_s
    with consumption:
        verdict = parts.runner.run(
            order.workload, _patient(deadline) if order.debugger else deadline
        )
    return Ended(
        outcome=verdict.outcome.value,
        reason=verdict.reason,
        return_code=verdict.return_code,
        run_s=round(time.monotonic() - started_s, 3),
        largest_mb=verdict.max_memory_mb or 0.0,
        memory_mb=consumption.memory_mb,
        over_memory_s=consumption.over_memory_s,
        was_killed_for_memory=consumption.has_killed,
        tmp_mb=consumption.tmp_mb,
        threads=consumption.threads,
        stop_at_s=round(stop_at_s, 3),
        not_measured=consumption.failure,
    )


def _patient(deadline: Deadline) -> Deadline:
    """The deadline of a task that is being debugged: it never comes."""
    return replace(deadline, time_out_s=float("inf"))


class _Measured:
    """The temporary folder, which is measured before it is cleared."""

    def __init__(self, folder: TemporaryFolder, measure: Callable[[], None]) -> None:
        self._folder = folder
        self._measure = measure

    def clear(self) -> None:
        """Measure it, then clear it."""
        self._measure()
        self._folder.clear()

    def __getattr__(self, name: str) -> Any:  # noqa: ANN401 - whatever the folder has
        return getattr(self._folder, name)


if __name__ == "__main__":
    main(*map(int, sys.argv[1:]))
    one_workload.end(0)
