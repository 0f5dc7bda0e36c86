"""The processor time that the processes of an environment have used, by what they are for.

A slow machine and a fast one differ in seconds, and far less in the shares of these figures.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Self

import psutil

from demo.installation.environment import Environment


@dataclass(frozen=True, slots=True)
class ProcessorTime:
    """Seconds of processor time, in user and kernel mode, of every process of an environment.

    The kernel counts in steps of 10 ms.

    Attributes:
        scheduler: The scheduler's own process.
        tasks: What runs tasks: LocalExecutor's workers, which are children of the scheduler, and
            the functions' processes, which are children of the embedded AWS.
        api_server: The api-server with its workers.
        database: Postgres with its backends.
        emulator: The embedded AWS's own process: on AWS it is no part of anybody's machine.
        others: DAG processor and triggerer.
    """

    scheduler: float = 0.0
    tasks: float = 0.0
    api_server: float = 0.0
    database: float = 0.0
    emulator: float = 0.0
    others: float = 0.0

    @classmethod
    def read(cls, environment: Environment, scheduler_pid: int) -> Self:
        """Read the counters of all processes."""
        programs = {child.program.name: child.identity.pid for child in environment.control_plane}
        scheduler, workers = _apart(scheduler_pid)
        emulators = [_apart(child.identity.pid) for child in environment.cloud]
        return cls(
            scheduler=scheduler,
            tasks=workers + sum(below for _, below in emulators),
            api_server=sum(_apart(programs["airflow-api-server"])),
            database=sum(sum(_apart(child.identity.pid)) for child in environment.database),
            emulator=sum(own for own, _ in emulators),
            others=sum(
                sum(_apart(programs[name]))
                for name in ("airflow-dag-processor", "airflow-triggerer")
            ),
        )

    def since(self, before: ProcessorTime, tasks: int) -> Mapping[str, float]:
        """Milliseconds for each of so many tasks since an earlier reading, and their sum."""
        each = {
            field.name: (getattr(self, field.name) - getattr(before, field.name)) / tasks * 1000
            for field in fields(self)
        }
        return {**each, "together": sum(each.values())}


def _apart(pid: int) -> tuple[float, float]:
    """Seconds of a process itself, and of all its descendants, ended or not."""
    root = psutil.Process(pid)
    times = root.cpu_times()
    below = times.children_user + times.children_system
    for process in root.children(recursive=True):
        try:
            below += sum(process.cpu_times()[:4])
        except psutil.NoSuchProcess:  # Its parent has its time now.
            continue
    return times.user + times.system, below
