"""Reports what Python code changes outside of /tmp, where a function can change nothing.

An audit hook sees every call of Python's own functions in the processes that this one forks, also
one that fails. It does not see what a native library or another program does.
https://docs.python.org/3/library/audit_events.html
"""

from __future__ import annotations

import os
import sys
import tempfile
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

from lambda_executor.contract.local_run import Written

#: Where an audit event has the paths that it changes, each with the descriptor of the folder to
#: which it is relative: -1, or no descriptor, for the current one.
_PATHS: dict[str, tuple[tuple[int, int | None], ...]] = {
    "os.chmod": ((0, 2),),
    "os.chown": ((0, 3),),
    "os.link": ((1, 3),),
    "os.mkdir": ((0, 2),),
    "os.remove": ((0, 1),),
    "os.rename": ((0, 2), (1, 3)),
    "os.rmdir": ((0, 1),),
    "os.symlink": ((1, 2),),
    "os.truncate": ((0, None),),
    "os.utime": ((0, 3),),
}
#: These change what a link leads to. The others change the link itself, or the event does not tell
#: which of both (chmod, chown, utime).
_FOLLOWS_LINKS = frozenset({"open", "os.truncate"})
_WRITES = os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC
#: Devices, and files of the kernel's.
_NOT_ON_DISK = ("/dev", "/proc", "/sys")
#: Python writes there if it can, and goes on without if not.
_CACHE = "__pycache__"


def report_to(fd: int) -> None:
    """Write a line (`Written`) for each path, once for each process, to a descriptor.

    What this process itself changes is not the task's doing, and not reported.
    """
    allowed = tuple({os.path.realpath(tempfile.gettempdir()), "/tmp", *_NOT_ON_DISK})  # noqa: S108
    seen: set[str] = set()
    watcher = os.getpid()

    def hook(event: str, arguments: tuple[Any, ...]) -> None:
        if (event != "open" and event not in _PATHS) or os.getpid() == watcher:
            return
        with suppress(Exception):  # Nothing may fail because it is watched.
            for path in _changed(event, arguments):
                if path not in seen and _CACHE not in path:
                    seen.add(path)
                    if not any(path == root or path.startswith(f"{root}/") for root in allowed):
                        os.write(fd, f"{Written(path).encode()}\n".encode())

    sys.addaudithook(hook)


def _changed(event: str, arguments: tuple[Any, ...]) -> Iterator[str]:
    """Yield the real paths that an event changes."""
    if event == "open":
        given, mode, flags = arguments
        if isinstance(flags, int) and flags & _WRITES:
            path = Path(os.fsdecode(given))
            # `os.open` has no mode, and its event does not tell what the path is relative to.
            if mode is not None or path.is_absolute():
                yield os.path.realpath(path)
        return
    for at, folder_at in _PATHS[event]:
        if isinstance(arguments[at], int):
            continue  # A descriptor, whose file was opened before.
        folder = -1 if folder_at is None else arguments[folder_at]
        path = Path("" if folder == -1 else f"/proc/self/fd/{folder}", os.fsdecode(arguments[at]))
        if event in _FOLLOWS_LINKS:
            yield os.path.realpath(path)
        else:
            yield str(Path(os.path.realpath(path.parent), path.name))
