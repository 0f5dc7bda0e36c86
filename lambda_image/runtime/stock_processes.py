"""Airflow's workload processes as Airflow itself forks them, for when its inside has moved.

Tasks run, and none outlives the function's time. What `airflow_processes` adds is not there: no
task is asked to stop before it is killed, Airflow learns of a killed one from the executor, a task
starts with what earlier ones left in this process's memory, and some take five seconds longer.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

import psutil

from lambda_image.deadline import Deadline
from lambda_image.machine import time_limit
from lambda_image.machine.zygote import kill_descendants
from lambda_image.verdict import Verdict, ended, out_of_time

#: Seconds in which whatever is killed has to be gone.
_SWEEP_S = 3.0


class StockProcesses:
    """The workload processes of one execution environment, one at a time.

    Attributes:
        are_lost: Whether no other workload can be run here: never.
    """

    are_lost = False

    def __init__(self) -> None:
        self._verdict: Verdict | None = None

    @contextmanager
    def until(self, deadline: Deadline) -> Iterator[None]:
        """Give the process of one workload its time; afterwards nothing of it is left."""
        self._verdict = None
        try:
            yield
        except time_limit.OutOfTime:
            self._verdict = out_of_time(-9, deadline.kill_words)
            raise
        finally:
            psutil.wait_procs(kill_descendants(), timeout=_SWEEP_S)

    @staticmethod
    def give_up_at_s(deadline: Deadline) -> float:
        """When the handler ends its wait for a workload: nothing else kills it."""
        return deadline.times.kill_at_s

    def supervise(self, run_workload: Callable[[], int]) -> None:
        """Run a workload, wherever Airflow runs it."""
        self._verdict = ended(run_workload())

    #: One that Airflow does not fork for runs in this process.
    run = supervise

    def verdict(self) -> Verdict | None:
        """How the workload's process ended; None while that is not known."""
        return self._verdict
