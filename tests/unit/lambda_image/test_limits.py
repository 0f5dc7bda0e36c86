"""Limits and priorities of the processes that must serve the next workload."""

from __future__ import annotations

import os
import resource
import subprocess
from collections.abc import Callable, Iterator

import pytest

from lambda_image.machine.limits import Limits


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


def test_few_descriptors_that_are_left_are_a_reason(monkeypatch: pytest.MonkeyPatch) -> None:
    """Files that a library never closes would fail every later workload."""
    limits = Limits({"the handler": os.getpid()})
    assert limits.restore() is None
    monkeypatch.setattr(resource, "getrlimit", lambda _number: (20, 20))
    assert "files open, and may have 20" in (limits.restore() or "")
