"""Linux's process table: who is alive, who is below whom, and how processes are ended.

It must not know how they were started. https://man7.org/linux/man-pages/man5/proc_pid_stat.5.html
"""

from __future__ import annotations

import contextlib
import os
import signal
import time
from collections.abc import Collection, Iterable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

#: Seconds that a process has to end before it and its group are killed. Airflow's scheduler takes
#: a few to end its own children; a busy machine multiplies that.
STOP_TIMEOUT_S = 20.0
POLL_S = 0.1


@dataclass(frozen=True, slots=True)
class Identity:
    """A process as it can be found again: a process id alone may have been reused."""

    name: str
    pid: int
    started_at_ticks: int
    stop_signal: int

    @classmethod
    def of(cls, name: str, pid: int, stop_signal: signal.Signals) -> Identity:
        """The process that has this id now."""
        found = _stat(pid)
        return cls(name, pid, found.started_at_ticks if found else 0, int(stop_signal))

    def is_alive(self) -> bool:
        """Whether this very process still runs (a zombie does not)."""
        found = _stat(self.pid)
        return (
            found is not None
            and found.state != "Z"
            and found.started_at_ticks == self.started_at_ticks
        )

    def to_json(self) -> dict[str, Any]:
        """For the state file; `Identity(**...)` is the way back."""
        return asdict(self)


def end_together(processes: Iterable[Identity], timeout_s: float = STOP_TIMEOUT_S) -> None:
    """Ask all of them to end, wait for them, then kill what is left of their groups."""
    asked = [process for process in processes if process.is_alive()]
    for process in asked:
        with contextlib.suppress(ProcessLookupError):
            os.kill(process.pid, process.stop_signal)
    deadline = time.monotonic() + timeout_s
    while any(process.is_alive() for process in asked) and time.monotonic() < deadline:
        time.sleep(POLL_S)
    for process in asked:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)


def end_orphans(bystanders: Collection[int]) -> None:
    """Kill whatever ended children left behind, but for processes that others started."""
    for pid in set(descendants(os.getpid())) - set(bystanders):
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)


def descendants(pid: int) -> list[int]:
    """Every living process below this one."""
    children: dict[int, list[int]] = {}
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit() and (found := _stat(int(entry.name))) and found.state != "Z":
            children.setdefault(found.parent, []).append(int(entry.name))
    below, queue = [], [pid]
    while queue:
        for child in children.get(queue.pop(), []):
            below.append(child)
            queue.append(child)
    return below


@dataclass(frozen=True, slots=True)
class _Stat:
    state: str
    parent: int
    started_at_ticks: int


def _stat(pid: int) -> _Stat | None:
    try:
        text = Path(f"/proc/{pid}/stat").read_text()
    except OSError:
        return None
    after_name = text.rpartition(")")[2].split()
    return _Stat(
        state=after_name[0], parent=int(after_name[1]), started_at_ticks=int(after_name[19])
    )
