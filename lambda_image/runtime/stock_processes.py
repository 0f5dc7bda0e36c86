"""Workload processes as stock Airflow forks them, for an Airflow that `processes` cannot patch.

Every task is killed before the function's time-out. But no task is asked to stop first, Airflow
learns of a killed task from the executor, a task inherits what earlier ones left in memory, and
some take five seconds longer.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager

import psutil

from lambda_image.deadline import Deadline
from lambda_image.machine import time_limit
from lambda_image.machine.limits import Limits
from lambda_image.machine.zygote import kill_descendants
from lambda_image.runtime.api.calls import TaskCalls
from lambda_image.verdict import Verdict, ended, out_of_time

#: How long to wait for killed processes to be gone, in seconds.
_SWEEP_S = 3.0


class StockProcesses:
    """The workload processes of one execution environment, one at a time."""

    #: Whether a process of the last workload was started: nobody knows.
    have_started = True
    _limits: Limits

    def __init__(self) -> None:
        self._verdict: Verdict | None = None
        self.calls = TaskCalls()  # Nothing is wrapped: it stays empty.

    def start(self) -> None:
        """Begin to serve workloads."""
        self._limits = Limits({"the handler": os.getpid()})

    @contextmanager
    def until(self, deadline: Deadline) -> Iterator[None]:
        """Bound one workload by its deadline; no process of it survives the block."""
        self._verdict = None
        try:
            yield
        except time_limit.OutOfTime:
            self._verdict = out_of_time(-9, deadline.kill_reason)
            raise
        finally:
            psutil.wait_procs(kill_descendants(), timeout=_SWEEP_S)

    @staticmethod
    def give_up_at_s(deadline: Deadline) -> float:
        """When the handler stops waiting and kills the workload: nobody else would."""
        return deadline.times.kill_at_s

    def hasten(self) -> None:
        """Do nothing: a task is killed when the handler stops waiting."""

    def supervise(self, run_workload: Callable[[], int], _variables: Mapping[str, str]) -> None:
        """Run a workload as Airflow does, in a fork or in this process, with its variables."""
        self._verdict = ended(run_workload())

    run = supervise

    def verdict(self) -> Verdict | None:
        """How the workload's process ended; None until it has."""
        return self._verdict

    def reason_against_another(self) -> str | None:
        """Why no other workload can run as this one could; None if it can."""
        return self._limits.restore()
