"""System V shared memory, semaphores and message queues: the kernel keeps them without a process.

They belong to a user, so what one workload leaves the next could read, and it takes up memory.
https://man7.org/linux/man-pages/man7/sysvipc.7.html
"""

from __future__ import annotations

import ctypes
import os
from collections.abc import Collection, Iterator
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple

#: Each kind's name in /proc/sysvipc.
_KINDS = ("shm", "sem", "msg")
_IPC_RMID = 0
#: The kernel's tables: https://man7.org/linux/man-pages/man5/proc_sysvipc.5.html
_TABLES = Path("/proc/sysvipc")

_libc = ctypes.CDLL(None, use_errno=True)


class SystemVObject(NamedTuple):
    """One object that this user owns or has made; its id is unique among those of its kind."""

    kind: str
    id: int


def existing() -> frozenset[SystemVObject]:
    """The objects of this user; empty if the kernel has none or does not list them."""
    return frozenset(found for kind in _KINDS for found in _listed(kind))


def remove(kept: Collection[SystemVObject]) -> list[str]:
    """Remove all objects of this user but these; returns the reasons against the others."""
    reasons = (_removed(found) for found in sorted(existing()) if found not in kept)
    return [reason for reason in reasons if reason]


def _listed(kind: str) -> Iterator[SystemVObject]:
    """Read a table of the kernel: its first line names the columns, and the second one is the id.

    The maker of an object may make another user its owner, and may still remove it: `shmctl(2)`.
    """
    # The kernel was built without them, or has another table.
    with suppress(OSError, ValueError, IndexError):
        head, *rows = (_TABLES / kind).read_text(encoding="ascii").splitlines()
        columns = head.split()
        users = [columns.index(name) for name in ("uid", "cuid")]
        for fields in map(str.split, rows):
            if os.getuid() in {int(fields[user]) for user in users}:
                yield SystemVObject(kind, int(fields[1]))


def _removed(found: SystemVObject) -> str | None:
    calls = {
        "shm": lambda: _libc.shmctl(found.id, _IPC_RMID, None),
        "sem": lambda: _libc.semctl(found.id, 0, _IPC_RMID),
        "msg": lambda: _libc.msgctl(found.id, _IPC_RMID, None),
    }
    if calls[found.kind]() == 0:
        return None
    return f"System V object {found.kind} {found.id}: {os.strerror(ctypes.get_errno())}"
