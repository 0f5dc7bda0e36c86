"""Memory, threads and descriptors of every program of an environment.

How large a program is says its proportional set size, in which pages that several processes share
count once. But that changes also when another process that shares them starts or ends: a task that
is forked from its handler, or another program with the same libraries. So growth is judged by the
resident set size.
"""

from __future__ import annotations

import time
from collections import defaultdict
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import psutil

from demo.installation.environment import Environment

EMBEDDED_AWS = "embedded AWS"
#: Each environment of a function has a number of its own: "function environment 3".
FUNCTION = "function environment"
#: MicroVMs with their image's snapshot, jobs and tasks of ECS, together: each lives for seconds.
JOBS = "jobs and MicroVMs"
#: No task of the soak on a function takes longer, in seconds.
LONGEST_TASK_S = 15.0
_SCHEDULER = "scheduler"
#: A variable that AWS sets in functions alone.
_OF_FUNCTIONS = "AWS_LAMBDA_FUNCTION_NAME"


@dataclass(frozen=True, slots=True)
class Usage:
    """What processes use together; memory in MB (of 2**20 bytes)."""

    pss_mb: float = 0.0
    rss_mb: float = 0.0
    threads: int = 0
    descriptors: int = 0

    def __add__(self, other: Usage) -> Usage:
        return Usage(
            self.pss_mb + other.pss_mb,
            self.rss_mb + other.rss_mb,
            self.threads + other.threads,
            self.descriptors + other.descriptors,
        )


def usage(processes: Iterable[psutil.Process]) -> Usage:
    """What these processes use together; those that have ended use nothing."""
    total = Usage()
    for process in processes:
        try:
            with process.oneshot():
                memory = process.memory_full_info()
                total += Usage(
                    memory.pss / 2**20,
                    memory.rss / 2**20,
                    process.num_threads(),
                    process.num_fds(),
                )
        except (psutil.NoSuchProcess, psutil.ZombieProcess):
            continue
    return total


@dataclass(slots=True)
class Programs:
    """Reads the programs of one environment.

    LocalExecutor's workers are below the scheduler, and run tasks. So the scheduler is read without
    them.
    """

    environment: Environment
    _numbers: dict[str, int] = field(default_factory=dict)

    def read(self) -> dict[str, Usage]:
        """What each program uses now, by its name."""
        found = {}
        here = self.environment
        for identity in (*here.control_plane.identities(), *here.database.identities()):
            process = identity.find()
            if process is None:
                continue
            name = identity.name.removeprefix("airflow-")
            below = [] if name == _SCHEDULER else _below(process)
            found[name] = usage([process, *below])
        for identity in here.cloud.identities():
            if process := identity.find():
                found |= self._of_cloud(process)
        return found

    def _of_cloud(self, emulator: psutil.Process) -> Iterator[tuple[str, Usage]]:
        yield EMBEDDED_AWS, usage([emulator])
        others = Usage()
        now_s = time.time()
        for sandbox, inside in _sandboxes(emulator).items():
            if any(_OF_FUNCTIONS in _variables(process) for process in inside):
                number = self._numbers.setdefault(sandbox, len(self._numbers) + 1)
                # A task's process is as large as the task; a process that a task left behind gets
                # old.
                old = [each for each in inside if now_s - each.create_time() > LONGEST_TASK_S]
                if old:
                    yield f"{FUNCTION} {number}", usage(old)
            else:
                others += usage(inside)
        yield JOBS, others


def _sandboxes(emulator: psutil.Process) -> dict[str, list[psutil.Process]]:
    """The processes of each environment, VM and job.

    Those of one sandbox share a process namespace. An environment that was restored from a snapshot
    has one of its own, though it is a child of the snapshot's process. Without bubblewrap there
    are no namespaces, and no copies: each child of the emulator is one.
    """
    found: dict[str, list[psutil.Process]] = defaultdict(list)
    outside = _namespace(emulator)
    for child in _children(emulator):
        spaces = {each: space for each in (child, *_below(child)) if (space := _namespace(each))}
        # bubblewrap itself is outside of the walls that it makes.
        first = next((space for space in spaces.values() if space != outside), f"{child.pid}")
        for process, space in spaces.items():
            found[first if space == outside else space].append(process)
    return found


def _namespace(process: psutil.Process) -> str | None:
    """The process namespace; None: the process has ended."""
    try:
        return str(Path(f"/proc/{process.pid}/ns/pid").readlink())
    except OSError:
        return None


def _children(process: psutil.Process) -> list[psutil.Process]:
    try:
        return process.children()
    except psutil.NoSuchProcess:
        return []


def _below(process: psutil.Process) -> list[psutil.Process]:
    try:
        return process.children(recursive=True)
    except psutil.NoSuchProcess:
        return []


def _variables(process: psutil.Process) -> dict[str, str]:
    try:
        return process.environ()
    except (psutil.NoSuchProcess, psutil.ZombieProcess, psutil.AccessDenied):
        return {}
