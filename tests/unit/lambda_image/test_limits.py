"""Limits and priorities of the processes that must serve the next workload."""

from __future__ import annotations

import errno
import itertools
import os
import resource
import subprocess
from collections.abc import Callable, Iterator

import pytest

from lambda_image.machine.limits import Limits, exhaustion_behind, is_of_disk


@pytest.fixture
def pid() -> Iterator[int]:
    """A process that waits for its end, in place of the handler."""
    with subprocess.Popen("cat", stdin=subprocess.PIPE) as process:
        yield process.pid


def files(pid: int) -> tuple[int, int]:
    """The limits of open files."""
    return resource.prlimit(pid, resource.RLIMIT_NOFILE)


@pytest.mark.parametrize(
    ("read", "change"),
    [
        (files, lambda pid: resource.prlimit(pid, resource.RLIMIT_NOFILE, (16, files(pid)[1]))),
        (os.sched_getaffinity, lambda pid: os.sched_setaffinity(pid, {0})),
    ],
    ids=["a soft limit", "the CPU affinity"],
)
def test_what_can_be_undone_is(
    pid: int, read: Callable[[int], object], change: Callable[[int], object]
) -> None:
    """The process is as before, and there is no reason to give it up."""
    limits, before = Limits({"the handler": pid}), read(pid)
    change(pid)
    assert limits.restore() is None
    assert read(pid) == before


def test_a_hard_limit_that_nobody_may_raise_is_a_reason(
    pid: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The reason names the limit and the process, and both values."""
    limits, before = Limits({"the handler": pid}), files(pid)
    resource.prlimit(pid, resource.RLIMIT_NOFILE, (16, 16))
    stock = resource.prlimit

    def prlimit(pid: int, number: int, *limits: tuple[int, int]) -> tuple[int, int]:
        if limits:  # Root might be allowed to.
            raise PermissionError(1, "Operation not permitted")
        return stock(pid, number)

    monkeypatch.setattr(resource, "prlimit", prlimit)
    assert limits.restore() == (
        f"a workload changed RLIMIT_NOFILE of the handler from {before} to (16, 16), and nothing "
        "may change it back"
    )


def test_a_process_that_has_ended_is_a_reason() -> None:
    """The reason names it."""
    with subprocess.Popen("cat", stdin=subprocess.PIPE) as process:
        limits = Limits({"the zygote": process.pid})
    assert limits.restore() == "the zygote has ended"


@pytest.mark.parametrize("reading", [1, 2], ids=["its first reading", "its second reading"])
def test_a_thread_that_ends_meanwhile_is_no_reason(
    pid: int, monkeypatch: pytest.MonkeyPatch, reading: int
) -> None:
    """Threads come and go: the handler whose thread has just ended goes on."""
    limits, stock, readings = Limits({"the handler": pid}), os.sched_getaffinity, itertools.count(1)
    os.sched_setaffinity(pid, {0})

    def read(thread: int) -> set[int]:
        if next(readings) == reading:
            raise ProcessLookupError(3, "No such process")
        return stock(thread)

    monkeypatch.setattr(os, "sched_getaffinity", read)
    assert limits.restore() is None
    assert next(readings) > reading


def test_a_thread_that_ends_during_the_init_phase_is_no_error(
    pid: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its settings are not among those that are restored."""

    def read(_which: int, _thread: int) -> int:
        raise ProcessLookupError(3, "No such process")

    with monkeypatch.context() as patched:
        patched.setattr(os, "getpriority", read)
        limits = Limits({"the handler": pid})
    assert limits.restore() is None


@pytest.mark.parametrize(
    ("error", "of_disk"),
    [
        (MemoryError(), False),
        (OSError(errno.EMFILE, "Too many open files"), False),
        (BlockingIOError(errno.EAGAIN, "Resource temporarily unavailable"), False),
        (RuntimeError("can't start new thread"), False),
        (OSError(errno.ENOSPC, "No space left on device"), True),
        (RuntimeError("stderr: 'fatal: write error: No space left on device'"), True),
    ],
    ids=["memory", "descriptors", "processes", "threads", "the disk", "the disk of a program"],
)
@pytest.mark.parametrize("is_named", [True, False])
def test_what_is_behind_an_error_is_found(
    error: Exception, *, of_disk: bool, is_named: bool
) -> None:
    """Whether the library named it as the cause, or raised its own error while handling it."""
    wrapped = ValueError("cannot be had")
    if is_named:
        wrapped.__cause__ = error
    else:
        wrapped.__context__ = error
    found = exhaustion_behind(wrapped)
    assert found is error
    assert is_of_disk(found) is of_disk


def test_what_is_no_exhaustion_is_not_found() -> None:
    """Other errors of the system are not."""
    missing = FileNotFoundError(errno.ENOENT, "No such file or directory")
    assert exhaustion_behind(missing) is None


def test_few_descriptors_that_are_left_are_a_reason(monkeypatch: pytest.MonkeyPatch) -> None:
    """Files that a library never closes would fail every later workload."""
    limits = Limits({"the handler": os.getpid()})
    assert limits.restore() is None
    monkeypatch.setattr(resource, "getrlimit", lambda _number: (20, 20))
    assert "files open, and may have 20" in (limits.restore() or "")
