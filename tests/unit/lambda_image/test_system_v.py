"""The System V objects of this user; no test touches those of other programs."""

from __future__ import annotations

import ctypes
from collections.abc import Callable
from pathlib import Path

import pytest

from lambda_image.machine import system_v
from lambda_image.machine.system_v import SystemVObject

LIBC = ctypes.CDLL(None, use_errno=True)
IPC_PRIVATE = 0
IPC_SET, IPC_STAT = 1, 2

MAKE: dict[str, Callable[[], int]] = {
    "shm": lambda: LIBC.shmget(IPC_PRIVATE, 4096, 0o1600),
    "sem": lambda: LIBC.semget(IPC_PRIVATE, 1, 0o1600),
    "msg": lambda: LIBC.msgget(IPC_PRIVATE, 0o1600),
}


@pytest.mark.parametrize("kind", MAKE)
def test_an_object_of_each_kind_is_found_and_removed(kind: str) -> None:
    """And nothing that is to be kept."""
    made, kept = (SystemVObject(kind, MAKE[kind]()) for _ in range(2))
    others = system_v.existing() - {made}
    assert kept in others
    assert system_v.remove(others) == []
    assert made not in system_v.existing()
    assert kept in system_v.existing()
    assert system_v.remove(others - {kept}) == []
    assert kept not in system_v.existing()


def test_what_cannot_be_removed_is_a_reason(monkeypatch: pytest.MonkeyPatch) -> None:
    """Somebody has removed it meanwhile, for example."""
    gone = SystemVObject("shm", 2**31 - 1)
    monkeypatch.setattr(system_v, "existing", lambda: frozenset({gone}))
    assert system_v.remove(()) == ["System V object shm 2147483647: Invalid argument"]


@pytest.mark.parametrize("kind", MAKE)
def test_an_object_that_its_maker_gave_away_is_found_and_removed(kind: str) -> None:
    """Whoever made an object may give it to any user, and remove it all the same: `shmctl(2)`."""
    made = SystemVObject(kind, MAKE[kind]())
    others = system_v.existing() - {made}
    give_away(made, to=12345)
    assert made in system_v.existing()
    assert system_v.remove(others) == []
    assert made not in system_v.existing()


def give_away(made: SystemVObject, to: int) -> None:
    """Change the owner, the second field of `struct ipc_perm`, with which each table begins."""
    table = (ctypes.c_uint32 * 64)()
    control = getattr(LIBC, f"{made.kind}ctl")
    before = (made.id, 0) if made.kind == "sem" else (made.id,)
    assert control(*before, IPC_STAT, table) == 0
    table[1] = to
    assert control(*before, IPC_SET, table) == 0


TABLES = {
    "another encoding": b"key \xff\n",
    "no column of owners": b"key shmid perms\n0 0 600\n",
    "no row's end": b"key shmid perms uid cuid\n0 0\n",
    "no number": b"key shmid perms uid cuid\n0 x 600 y z\n",
    "nothing": b"",
}


@pytest.mark.parametrize("table", TABLES.values(), ids=TABLES)
def test_a_table_that_cannot_be_read_has_no_objects(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, table: bytes
) -> None:
    """A kernel that writes another one costs no result."""
    monkeypatch.setattr(system_v, "_TABLES", tmp_path)
    for kind in MAKE:
        (tmp_path / kind).write_bytes(table)
    assert system_v.existing() == frozenset()
