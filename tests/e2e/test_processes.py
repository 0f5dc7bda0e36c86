"""Child processes end, whatever happens to them or to this process."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import psutil
import pytest

from demo.machine.process_table import Identity
from demo.machine.processes import Child, Children, ProcessError, Program

TIMEOUT_S = 30.0
ROOT = Path(__file__).parents[2]
#: Ignores SIGTERM, and has a child of its own, which may have a session of its own too.
STUBBORN = """
import signal, subprocess, sys, time
signal.signal(signal.SIGTERM, signal.SIG_IGN)
sleep = [sys.executable, "-c", "import time; time.sleep(1000)"]
child = subprocess.Popen(sleep, start_new_session={own_session})
print(child.pid, flush=True)
time.sleep(1000)
"""
#: Starts a child through `Children` and waits to be killed.
PARENT = """
import sys, time
from pathlib import Path
from demo.machine.processes import Children, Program
folder = Path(sys.argv[1])
program = Program("child", [sys.executable, "-c", "import time; time.sleep(1000)"], {}, folder)
print(Children(folder, outlive_us=False).start(program).identity.pid, flush=True)
time.sleep(1000)
"""


@pytest.fixture
def children(tmp_path: Path) -> Iterator[Children]:
    """Children with their logs in a temporary folder."""
    made = Children(tmp_path, outlive_us=False)
    yield made
    made.end_all()


def start(children: Children, tmp_path: Path, script: str) -> Child:
    """Start a Python script as a child."""
    return children.start(Program("child", [sys.executable, "-c", script], {}, tmp_path))


def printed(child: Child) -> str | None:
    """What the child has printed so far."""
    return child.log.read_text().strip() or None


def eventually(is_so: Callable[[], bool]) -> bool:
    """Whether it becomes true in time."""
    deadline = time.monotonic() + TIMEOUT_S
    while not is_so() and time.monotonic() < deadline:
        time.sleep(0.02)
    return is_so()


@pytest.mark.parametrize("own_session", [False, True])
def test_a_child_that_will_not_end_is_killed_with_its_own(
    children: Children, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, own_session: bool
) -> None:
    """SIGKILL follows SIGTERM and reaches the child's own children, in any session."""
    monkeypatch.setattr("demo.machine.process_table.end_together.__defaults__", (0.2,))
    child = start(children, tmp_path, STUBBORN.format(own_session=own_session))
    grandchild = int(child.wait_until(lambda: printed(child), "prints", TIMEOUT_S))
    children.end_all()
    assert not child.is_alive()
    assert eventually(lambda: not is_running(grandchild))


def test_children_of_a_killed_parent_end(tmp_path: Path) -> None:
    """SIGKILL of the parent leaves no child, which nobody could clean up."""
    parent = subprocess.Popen(
        [sys.executable, "-c", PARENT, str(tmp_path)],
        stdout=subprocess.PIPE,
        text=True,
        cwd=ROOT,
    )
    with parent:
        assert parent.stdout is not None
        pid = int(parent.stdout.readline())
        assert is_running(pid)
        parent.send_signal(signal.SIGKILL)
    assert eventually(lambda: not is_running(pid))


def test_each_start_is_recorded_at_once(tmp_path: Path) -> None:
    """Each start is recorded at once, for programs that outlive this process."""
    recorded: list[list[str]] = []
    kept = Children(
        tmp_path,
        outlive_us=True,
        on_start=lambda: recorded.append([each.name for each in kept.identities()]),
    )
    try:
        for name in ("first", "second"):
            sleep = [sys.executable, "-c", "import time; time.sleep(1000)"]
            kept.start(Program(name, sleep, {}, tmp_path))
    finally:
        kept.end_all()
    assert recorded == [["first"], ["first", "second"]]


def test_a_failed_program_shows_the_end_of_its_log(children: Children, tmp_path: Path) -> None:
    """The error has the exit code and the last lines of the log."""
    child = start(children, tmp_path, "print('the last words'); raise SystemExit(3)")
    with pytest.raises(ProcessError, match=r"exit code 3(.|\n)*the last words"):
        children.finish(child, TIMEOUT_S)


def test_a_program_that_dies_is_not_waited_for(children: Children, tmp_path: Path) -> None:
    """Waiting for a probe ends when the program has ended."""
    child = start(children, tmp_path, "raise SystemExit(4)")
    with pytest.raises(ProcessError, match="exit code 4 before it answers"):
        child.wait_until(lambda: None, "answers", TIMEOUT_S)


def test_a_program_that_takes_too_long_is_ended(children: Children, tmp_path: Path) -> None:
    """A time-out is an error and leaves no process."""
    child = start(children, tmp_path, "import time; time.sleep(1000)")
    with pytest.raises(ProcessError, match="did not end within 0 s"):
        children.finish(child, 0.1)
    assert not child.is_alive()


def test_a_reused_process_id_is_another_process(children: Children, tmp_path: Path) -> None:
    """The same process id with another start time is another process."""
    child = start(children, tmp_path, "import time; time.sleep(1000)")
    ours = child.identity
    other = replace(ours, started_s=ours.started_s + 0.01)
    assert ours.is_alive()
    assert not other.is_alive()


def test_a_process_is_found_again_after_the_clock_was_set(
    children: Children, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A process is found again although the clock was set since its start."""
    ours = start(children, tmp_path, "import time; time.sleep(1000)").identity
    monkeypatch.setattr(psutil._pslinux, "boot_time", lambda: 12.0)
    assert ours.is_alive()


def test_a_zombie_has_ended() -> None:
    """A zombie counts as ended."""
    ended = subprocess.Popen([sys.executable, "-c", ""])
    identity = Identity.of("ended", ended.pid, signal.SIGTERM)
    os.waitid(os.P_PID, ended.pid, os.WEXITED | os.WNOWAIT)
    assert not identity.is_alive()
    ended.wait()


def is_running(pid: int) -> bool:
    """Whether the process exists and is not a zombie."""
    try:
        return psutil.Process(pid).status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False
