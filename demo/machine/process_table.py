"""This machine's processes: whether one that was started is still there, and how they are ended.

It must not know how they were started.
"""

from __future__ import annotations

import contextlib
import os
import signal
import time
from collections.abc import Iterable
from dataclasses import dataclass

import psutil

#: Seconds that a process has to end before it and what it started are killed. Airflow's scheduler
#: takes a few to end its own children; a busy machine multiplies that.
STOP_TIMEOUT_S = 20.0
POLL_S = 0.1


@dataclass(frozen=True, slots=True)
class Identity:
    """A process as it can be found again: a process id alone may have been reused.

    Attributes:
        name: For people.
        pid: Its process id.
        started_s: When it started, in seconds since the machine did: unlike the time of day, this
            stays the same when somebody sets the clock.
        stop_signal: What asks it to end.
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
        """This very process; None: it has ended (a zombie has)."""
        try:
            found = psutil.Process(self.pid)
            is_zombie = found.status() == psutil.STATUS_ZOMBIE
            return found if _started_s(found) == self.started_s and not is_zombie else None
        except psutil.NoSuchProcess:
            return None

    def is_alive(self) -> bool:
        """Whether this very process still runs."""
        return self.find() is not None


def end_together(identities: Iterable[Identity], timeout_s: float = STOP_TIMEOUT_S) -> None:
    """Ask all of them to end, wait for them, then kill what is left of them and theirs."""
    asked = {identity: found for identity in identities if (found := identity.find())}
    # Looked up first: what has a session of its own cannot be traced to a parent that is gone.
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
    """Kill those that are still there."""
    for process in processes:
        with contextlib.suppress(psutil.NoSuchProcess):
            process.kill()


def descendants(process: psutil.Process | None = None) -> frozenset[psutil.Process]:
    """Every process below this one, or below ours."""
    try:
        return frozenset((process or psutil.Process()).children(recursive=True))
    except psutil.NoSuchProcess:
        return frozenset()


def _started_s(process: psutil.Process) -> float:
    return round(process.create_time() - psutil.boot_time(), 2)
