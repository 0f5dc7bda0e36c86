"""Reports what Python code changes outside of /tmp, where a function can change nothing.

An audit hook sees every call of Python's own functions in the processes that this one forks, also
one that fails. It does not see what a native library or another program does.
https://docs.python.org/3/library/audit_events.html
"""

from __future__ import annotations

import os
import sys
import tempfile
from contextlib import suppress
from typing import Any

from lambda_executor.contract.local_run import Written

#: Which arguments of an audit event are paths that it changes.
_PATHS = {
    "os.chmod": (0,),
    "os.chown": (0,),
    "os.link": (1,),
    "os.mkdir": (0,),
    "os.remove": (0,),
    "os.rename": (0, 1),
    "os.rmdir": (0,),
    "os.symlink": (1,),
    "os.truncate": (0,),
    "os.utime": (0,),
}
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
        if event == "open":
            path, _, flags = arguments
            paths = [path] if isinstance(flags, int) and flags & _WRITES else []
        elif event in _PATHS:
            paths = [arguments[i] for i in _PATHS[event]]
        else:
            return
        if os.getpid() == watcher:
            return
        for path in paths:
            with suppress(Exception):  # Nothing may fail because it is watched.
                _report(fd, path, allowed, seen)

    sys.addaudithook(hook)


def _report(fd: int, given: Any, allowed: tuple[str, ...], seen: set[str]) -> None:  # noqa: ANN401
    if not isinstance(given, str | bytes | os.PathLike):  # A descriptor, of an opened file.
        return
    path = os.path.realpath(os.fsdecode(given))
    if path in seen or _CACHE in path:
        return
    seen.add(path)
    if not any(path == root or path.startswith(f"{root}/") for root in allowed):
        os.write(fd, f"{Written(path).encode()}\n".encode())
