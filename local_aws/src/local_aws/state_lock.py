"""The lock on the state directory: two servers would replace each other's images and logs."""

from __future__ import annotations

import contextlib
import fcntl
import os
from collections.abc import Iterator
from pathlib import Path


@contextlib.contextmanager
def sole_use(state_dir: Path) -> Iterator[None]:
    """Hold the directory's lock, and make the directory if it is missing.

    The kernel releases the lock when the process ends, however it ends
    (https://man7.org/linux/man-pages/man2/flock.2.html).

    Raises:
        OSError: Another process holds it, or the directory is not writable.
    """
    state_dir.mkdir(parents=True, exist_ok=True)
    with (state_dir / "lock").open("a+") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            lock.seek(0)
            # Empty: the process has just started.
            pid = lock.read().strip()
            holder = f"process {pid}" if pid else "another process"
            raise OSError(
                f"{state_dir} is in use by {holder}: end that process, or give another --state-dir"
            ) from None
        lock.truncate(0)
        lock.write(f"{os.getpid()}\n")
        lock.flush()
        yield
