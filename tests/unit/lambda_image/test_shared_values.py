"""Values that a process shares with its forks."""

from __future__ import annotations

import io
import os
from collections.abc import Callable
from pathlib import Path

import pytest

from lambda_image.logs.log_output import LogOutput
from lambda_image.logs.shared_values import SharedValues

SECRET = "wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY"


def in_a_fork(run: Callable[[], object]) -> int:
    """Run this in a fork; its exit code."""
    pid = os.fork()
    if pid == 0:
        try:
            run()
        except BaseException:  # noqa: BLE001 - a fork may not go on with the tests
            os._exit(1)
        os._exit(0)
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])


def test_what_a_fork_adds_is_masked_here() -> None:
    """At once, until it is forgotten, whatever the lines are about."""
    raw = io.BytesIO()
    out = LogOutput(raw, {})
    out.share()
    out.write(SECRET.encode() + b"\n")
    for _ in range(2):  # The file is as large as before in the second one.
        out.forget()
        assert in_a_fork(lambda: out.mask_shared(SECRET)) == 0
        out.about({})
        out.write(SECRET.encode() + b"\n")
    out.forget()
    out.write(SECRET.encode() + b"\n")
    assert [SECRET in line for line in raw.getvalue().decode().splitlines()] == [
        *(True, False, False, True)
    ]


def test_a_daemon_writes_into_no_other_file(tmp_path: Path) -> None:
    """It has closed all that it inherited, and the number may be another file's."""
    shared = SharedValues()
    file = tmp_path / "file"

    def be_daemon() -> None:
        os.dup2(os.open(file, os.O_CREAT | os.O_RDWR), shared._descriptor)
        shared.add(SECRET)
        assert shared.values() == []

    assert in_a_fork(be_daemon) == 0
    assert file.read_bytes() == b""
    assert shared.values() == []
    shared.close()


@pytest.mark.parametrize("times", [1, 2])
def test_a_closed_file_is_empty(times: int) -> None:
    """It can be closed again."""
    shared = SharedValues()
    shared.add(SECRET)
    assert shared.values() == [SECRET]
    for _ in range(times):
        shared.close()
    assert (shared.values(), shared.size_bytes()) == ([], 0)
