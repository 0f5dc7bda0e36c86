"""This machine's processes: finding a started process again, and ending processes. Linux only."""

from __future__ import annotations

import contextlib
import ctypes
import os
import pwd
import signal
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

import psutil

#: Seconds from the stop signal to SIGKILL. Airflow's scheduler takes a few to end its children, on
#: a busy machine many.
STOP_TIMEOUT_S = 20.0
POLL_S = 0.1

# https://man7.org/linux/man-pages/man2/PR_SET_PDEATHSIG.2const.html and PR_SET_CHILD_SUBREAPER
_PR_SET_PDEATHSIG = 1
_PR_SET_CHILD_SUBREAPER = 36
_libc = ctypes.CDLL(None, use_errno=True)


@dataclass(frozen=True, slots=True)
class Identity:
    """Identifies a process, whose id may be reused, by its start time.

    `started_s` counts from the start of the machine, so that setting the clock does not change it.
    """

    name: str
    pid: int
    started_s: float
    stop_signal: int

    @classmethod
    def of(cls, name: str, pid: int, stop_signal: signal.Signals) -> Identity:
        """The process that has this id now."""
        return cls(name, pid, _started_s(psutil.Process(pid)), int(stop_signal))

    def find(self) -> psutil.Process | None:
        """The process; None: it has ended or is a zombie."""
        try:
            found = psutil.Process(self.pid)
            is_zombie = found.status() == psutil.STATUS_ZOMBIE
            return found if _started_s(found) == self.started_s and not is_zombie else None
        except psutil.NoSuchProcess:
            return None

    def is_alive(self) -> bool:
        """Whether the process still runs."""
        return self.find() is not None


def end_together(identities: Iterable[Identity], timeout_s: float = STOP_TIMEOUT_S) -> None:
    """Ask all of them to end, wait, then kill the rest, including their descendants."""
    asked = {identity: found for identity in identities if (found := identity.find())}
    # Collected first: a child in its own session cannot be traced to a parent that has ended.
    below = [child for process in asked.values() for child in descendants(process)]
    for identity, process in asked.items():
        with contextlib.suppress(psutil.NoSuchProcess):
            process.send_signal(identity.stop_signal)
    deadline = time.monotonic() + timeout_s
    while any(identity.is_alive() for identity in asked) and time.monotonic() < deadline:
        time.sleep(POLL_S)
    for identity in asked:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(identity.pid, signal.SIGKILL)
    kill(below)


def kill(processes: Iterable[psutil.Process]) -> None:
    """Kill the processes that still exist."""
    for process in processes:
        with contextlib.suppress(psutil.NoSuchProcess):
            process.kill()


def descendants(process: psutil.Process | None = None) -> frozenset[psutil.Process]:
    """Every descendant of a process; None: of this one."""
    try:
        return frozenset((process or psutil.Process()).children(recursive=True))
    except psutil.NoSuchProcess:
        return frozenset()


def adopt_orphans() -> None:
    """Make this process the parent of descendants whose own parent ends."""
    _libc.prctl(_PR_SET_CHILD_SUBREAPER, 1)


def as_user(name: str | None) -> dict[str, Any]:
    """The arguments of `Popen` that run a program as another user; None: as this one."""
    if name is None:
        return {}
    return {"user": name, "group": pwd.getpwnam(name).pw_gid, "extra_groups": []}


def end_with_parent(stop_signal: signal.Signals) -> Callable[[], None]:
    """A `preexec_fn` for a child that gets `stop_signal` when the thread that forked it ends."""
    parent = os.getpid()

    def in_child() -> None:
        _libc.prctl(_PR_SET_PDEATHSIG, stop_signal)
        if os.getppid() != parent:  # The parent ended before the line above.
            os._exit(1)

    return in_child


def _started_s(process: psutil.Process) -> float:
    return round(process.create_time() - psutil.boot_time(), 2)
