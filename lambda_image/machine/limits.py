"""Limits and priorities of the processes that must serve the next workload.

A workload runs as the same user, so it can change them from its own process, although it can read
neither one's memory: `prlimit(2)`, `setpriority(2)`, `sched_setaffinity(2)`, `ioprio_set(2)`.
"""

from __future__ import annotations

import errno
import os
import resource
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any, NamedTuple

import psutil

from lambda_image.causes import causes

#: A workload opens about 30 files in the handler's process; a bundle's library may open more.
_LEAST_FREE_DESCRIPTORS = 64

#: The kernel's numbers of the limits; RLIMIT_OFILE is another name of RLIMIT_NOFILE.
_RESOURCES = {
    getattr(resource, name): name
    for name in dir(resource)
    if name.startswith("RLIMIT_") and name != "RLIMIT_OFILE"
}

#: Errors of the system because of which the next workload could not start here either.
_EXHAUSTED = frozenset(
    {
        *(errno.EMFILE, errno.ENFILE, errno.ENOBUFS),  # descriptors
        *(errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EIO),  # the disk
        errno.ENOMEM,
        errno.EAGAIN,  # processes and threads: `fork(2)`
    }
)

#: Python's only word for a thread that could not be started.
_NO_THREAD = "can't start new thread"
#: A program that failed, git for example, only has the text.
_NO_SPACE = os.strerror(errno.ENOSPC)


class _Setting(NamedTuple):
    """One setting of one process or thread."""

    name: str
    read: Callable[[], Any]
    write: Callable[[Any], object]


class Limits:
    """The limits and priorities of processes, as they were when this object was made.

    Args:
        pids: The process ids, by what a reason calls each process.
    """

    def __init__(self, pids: Mapping[str, int]) -> None:
        self._pids = pids
        self._first = {
            (process, setting.name): now
            for process, pid in pids.items()
            for setting, now in _readable(pid)
        }

    def restore(self) -> str | None:
        """Undo every change.

        Returns:
            Why these processes cannot serve another workload as well as the first: a change cannot
            be undone, one of them has ended, or this one can open hardly any more files.
        """
        for process, pid in self._pids.items():
            try:
                for setting, now in _readable(pid):
                    first = self._first.get((process, setting.name), now)
                    if now != first and not _restored(setting, first):
                        return (
                            f"a workload changed {setting.name} of {process} from {first} to "
                            f"{now}, and nothing may change it back"
                        )
            except psutil.NoSuchProcess:
                return f"{process} has ended"
        return _reason_against_opening_files()


def exhaustion_behind(error: BaseException) -> BaseException | None:
    """The cause of an error that is a lack of memory, descriptors, processes or disk, or None."""
    return next(filter(_is_exhaustion, causes(error)), None)


def is_of_disk(exhaustion: BaseException) -> bool:
    """Whether what `exhaustion_behind` found is a full disk."""
    full = (errno.ENOSPC, errno.EDQUOT)
    return getattr(exhaustion, "errno", None) in full or _NO_SPACE in str(exhaustion)


def _is_exhaustion(error: BaseException) -> bool:
    if isinstance(error, MemoryError) or getattr(error, "errno", None) in _EXHAUSTED:
        return True
    return _NO_SPACE in str(error) or _NO_THREAD in str(error)


def _readable(pid: int) -> Iterator[tuple[_Setting, Any]]:
    """The settings of a process with their values, but for those of threads that have ended.

    Raises:
        psutil.NoSuchProcess: The process has ended.
    """
    for setting in _settings(pid):
        try:
            now = setting.read()
        except ProcessLookupError:
            continue
        yield setting, now


def _restored(setting: _Setting, first: Any) -> bool:  # noqa: ANN401 - each setting has its type
    """Set the value back; whether that worked, or is not needed because the thread has ended."""
    with suppress(OSError, ValueError):
        setting.write(first)
    try:
        return bool(setting.read() == first)
    except ProcessLookupError:
        return True


def _settings(pid: int) -> Iterator[_Setting]:
    """The settings of a process and, where each thread has its own, of all of its threads.

    Raises:
        psutil.NoSuchProcess: The process has ended.
    """
    for number, name in _RESOURCES.items():
        yield _Setting(
            name,
            lambda number=number: resource.prlimit(pid, number),  # type: ignore[misc]
            lambda first, number=number: resource.prlimit(pid, number, first),  # type: ignore[misc]
        )
    process = psutil.Process(pid)
    yield _Setting("the I/O priority", process.ionice, lambda first: process.ionice(*first))
    for thread in _threads(pid):
        yield from _scheduling(thread)


def _scheduling(thread: int) -> Iterator[_Setting]:
    yield _Setting(
        "the niceness",
        lambda: os.getpriority(os.PRIO_PROCESS, thread),
        lambda first: os.setpriority(os.PRIO_PROCESS, thread, first),
    )
    yield _Setting(
        "the CPU affinity",
        lambda: os.sched_getaffinity(thread),
        lambda first: os.sched_setaffinity(thread, first),
    )
    yield _Setting(
        "the scheduling policy",
        lambda: os.sched_getscheduler(thread),
        lambda first: os.sched_setscheduler(thread, first, os.sched_param(0)),
    )


def _reason_against_opening_files() -> str | None:
    limit = resource.getrlimit(resource.RLIMIT_NOFILE)[0]
    try:
        opened = sum(1 for _ in Path("/proc/self/fd").iterdir())
    except OSError as e:
        return f"the handler can open no file: {e}"
    if opened + _LEAST_FREE_DESCRIPTORS < limit:
        return None
    return f"the handler has {opened} files open, and may have {limit}"


def _threads(pid: int) -> list[int]:
    try:
        return [int(path.name) for path in Path(f"/proc/{pid}/task").iterdir()]
    except FileNotFoundError:
        raise psutil.NoSuchProcess(pid) from None
