"""Samples what a workload needs, against the limits that a function has, and kills it beyond them.

The kernel limits the memory of a function as a whole: of all processes together. Here it is added
up twenty times in a second, so a short peak may be missed; that of the largest process is known
from the kernel (`zygote.End`).
"""

from __future__ import annotations

import contextlib
import itertools
import os
import tempfile
import threading
import time
from pathlib import Path
from types import TracebackType
from typing import Self

import psutil

_PERIOD_S = 0.05
#: The temporary folder is measured in each 20th sample, once a second: it may have many
#: files, and is measured in the end as well.
_TMP_EVERY = 20
_MEBIBYTE = 2**20


class Consumption:
    """Samples on a thread, as a context manager. Create it after the zygote has been forked.

    Args:
        limit_mb: The memory of the function.
        is_enforced: Whether the largest process of the workload is killed beyond it.

    Attributes:
        memory_mb: The most MiB of all processes together.
        over_memory_s: Seconds after the start at which they had more than the limit; None if never.
        has_killed: Whether a process was killed then.
        tmp_mb: The most MiB in the temporary folder.
        threads: The most processes and threads at once.
        failure: Why nothing was measured from some time on; empty if it was.
    """

    def __init__(self, limit_mb: int, *, is_enforced: bool) -> None:
        self._limit_mb, self._is_enforced = limit_mb, is_enforced
        self.memory_mb = self.tmp_mb = 0.0
        self.over_memory_s: float | None = None
        self.has_killed = False
        self.threads = 0
        self.failure = ""
        self._handler = psutil.Process()
        self._zygotes = frozenset(self._handler.children())
        # What each forked process has from the zygote is the same memory until one writes to it.
        self._inherited = max((_resident(zygote) for zygote in self._zygotes), default=0)
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._sample_all, name="consumption", daemon=True)

    def __enter__(self) -> Self:
        self._started_s = time.monotonic()
        self._thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._ended.set()
        self._thread.join()

    def measure_tmp(self) -> None:
        """Record the temporary folder's current size if it is the largest so far."""
        folder = Path(tempfile.gettempdir())
        self.tmp_mb = max(self.tmp_mb, round(_size_bytes(folder) / _MEBIBYTE, 1))

    def _sample_all(self) -> None:
        try:
            for number in itertools.count():
                if self._ended.wait(_PERIOD_S):
                    return
                self._sample()
                if number % _TMP_EVERY == 0:
                    self.measure_tmp()
        except Exception as e:  # noqa: BLE001 - the workload must not fail because it is watched
            self.failure = f"{type(e).__name__}: {e}"

    def _sample(self) -> None:
        sizes = {
            process: self._own_bytes(process) for process in self._handler.children(recursive=True)
        }
        total = _resident(self._handler) + sum(sizes.values())
        self.memory_mb = max(self.memory_mb, round(total / _MEBIBYTE, 1))
        self.threads = max(self.threads, sum(map(_threads, [self._handler, *sizes])))
        if total <= self._limit_mb * _MEBIBYTE:
            return
        if self.over_memory_s is None:
            self.over_memory_s = round(time.monotonic() - self._started_s, 1)
        workloads = [process for process in sizes if process not in self._zygotes]
        if self._is_enforced and workloads:
            with contextlib.suppress(psutil.Error):
                max(workloads, key=lambda process: sizes[process]).kill()
                self.has_killed = True

    def _own_bytes(self, process: psutil.Process) -> int:
        """The memory that a process shares with no other one, as far as that can be read.

        A process that was forked is protected, so only root may read it: what it has more than the
        zygote had is its own. A program that it executed is not, and shares nothing with it.
        """
        try:
            text = Path(f"/proc/{process.pid}/smaps_rollup").read_text(encoding="ascii")
        except OSError:
            return max(0, _resident(process) - self._inherited)
        lines = [line.split() for line in text.splitlines() if line.startswith("Private_")]
        return sum(int(words[1]) * 1024 for words in lines)


def _resident(process: psutil.Process) -> int:
    try:
        return int(process.memory_info().rss)
    except psutil.Error:  # It has ended.
        return 0


def _threads(process: psutil.Process) -> int:
    try:
        return int(process.num_threads())
    except psutil.Error:  # It has ended.
        return 0


def _size_bytes(folder: Path) -> int:
    """The size of a folder: of its file system, if it has one of its own."""
    if folder.is_mount():
        disk = os.statvfs(folder)
        return (disk.f_blocks - disk.f_bfree) * disk.f_frsize
    total = 0
    for root, _, names in os.walk(folder):
        for name in names:
            with contextlib.suppress(OSError):  # It was removed meanwhile.
                total += Path(root, name).lstat().st_blocks * 512
    return total
