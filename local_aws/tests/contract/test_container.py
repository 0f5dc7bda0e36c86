"""A container ends once, and is never taken for a success that it was not."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path

import pytest

from local_aws.sandbox.container import Container
from local_aws.sandbox.sandbox import Confinement, RuntimeCommand, Sandbox

WAIT_S = 30.0
WAIT = "import time; print('waiting', flush=True); time.sleep(600)"


def container(program: str, log: Callable[[str], None]) -> Container:
    """A container that runs a Python program."""
    command = RuntimeCommand(
        [sys.executable, "-c", program],
        Path("/"),
        {"PATH": "/usr/bin:/bin"},
        memory_mb=512,
        tmp_mb=64,
    )
    return Container(Sandbox(command, Confinement(bubblewrap="", cgroups=None)), log)


def test_a_sandbox_that_is_lost_is_no_success() -> None:
    """If its first process is killed, nobody says how the command ended: it counts as killed."""
    waiting = threading.Event()
    lost = container(WAIT, lambda _line: waiting.set())
    assert waiting.wait(WAIT_S)
    assert isinstance(lost._sandbox._process, subprocess.Popen)
    os.kill(lost._sandbox._process.pid, signal.SIGKILL)
    lost.kill()
    assert lost.exit_code == 128 + signal.SIGKILL


@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")
def test_a_log_that_fails_does_not_keep_a_container_from_ending() -> None:
    """Else whoever ends the containers would wait for ever."""

    def log(line: str) -> None:
        raise OSError(f"no log for {line}")

    unlogged = container("print('a line')", log)
    assert unlogged._ended.wait(WAIT_S)
    unlogged.kill()
    for thread in threading.enumerate():
        if thread.name == "container":  # Else its exception is the next test's.
            thread.join(WAIT_S)
