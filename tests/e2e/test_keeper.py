"""What `make local` leaves running: a program that dies is started again, or reported."""

from __future__ import annotations

import os
import pty
import select
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import psutil
import pytest

from demo.machine.process_table import Identity, end_together
from demo.machine.processes import Children, ProcessError, Program

TIMEOUT_S = 30.0
ROOT = Path(__file__).parents[2]
#: Starts a program that outlives it, as `make local` does, and tells the keeper's process id.
STARTER = """
import sys
from pathlib import Path
from demo.machine.processes import Children, Program
folder, script, *waits_s = sys.argv[1:]
program = Program(
    "program",
    [sys.executable, "-c", script],
    {"STARTS": folder + "/starts"},
    Path(folder),
    restart_waits_s=[float(wait_s) for wait_s in waits_s],
)
children = Children(Path(folder), outlive_us=True)
print(children.start(program).identity.pid, flush=True)
sys.stdin.read()
"""
#: Notes its process id.
START = """
import os, signal, subprocess, sys, time
with open(os.environ["STARTS"], "a") as starts:
    starts.write(f"{os.getpid()}\\n")
"""
#: Dies as soon as its starter has ended, and leaves a child.
DIES = (
    START
    + """
child = subprocess.Popen(["sleep", "1000"], start_new_session=True)
print("child", child.pid, "and the last words", flush=True)
while not os.path.exists("gone"):
    time.sleep(0.01)
os.kill(os.getpid(), signal.SIGSEGV)
"""
)
RUNS = START + "time.sleep(1000)"


@dataclass
class Kept:
    """A program whose starter has ended."""

    folder: Path
    keeper: Identity
    terminal: int
    _shown: str = field(default="", init=False)

    def starts(self) -> list[int]:
        """The process ids that the program has had."""
        file = self.folder / "starts"
        return [int(line) for line in file.read_text().split()] if file.exists() else []

    def log(self) -> str:
        """The program's log."""
        return (self.folder / "program.log").read_text()

    def shown(self) -> str:
        """What the terminal shows."""
        while select.select([self.terminal], [], [], 0)[0]:
            try:
                self._shown += os.read(self.terminal, 65536).decode()
            except OSError:  # Nobody has the terminal open any more.
                break
        return self._shown


@pytest.fixture
def keep(tmp_path: Path) -> Iterator[Callable[..., Kept]]:
    """Start a program in a terminal, with its waits; its starter has ended."""
    made: list[Kept] = []
    terminal, of_starter = pty.openpty()

    def start(script: str, *waits_s: float) -> Kept:
        starter = subprocess.Popen(
            [sys.executable, "-c", STARTER, str(tmp_path), script, *map(str, waits_s)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=of_starter,
            text=True,
            cwd=ROOT,
        )
        assert starter.stdout is not None
        pid = int(starter.stdout.readline())
        kept = Kept(tmp_path, Identity.of("program", pid, signal.SIGTERM), terminal)
        made.append(kept)
        eventually(lambda: len(kept.starts()) == 1)
        starter.communicate("", timeout=TIMEOUT_S)
        assert starter.returncode == 0
        (tmp_path / "gone").touch()
        return kept

    yield start
    end_together([kept.keeper for kept in made])
    os.close(terminal)
    os.close(of_starter)


def eventually(is_so: Callable[[], bool]) -> None:
    """Wait until it becomes true."""
    until_s = time.monotonic() + TIMEOUT_S
    while not is_so():
        assert time.monotonic() < until_s, "it did not happen in time"
        time.sleep(0.02)


def is_running(pid: int) -> bool:
    """Whether the process exists and is not a zombie."""
    try:
        return psutil.Process(pid).status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


def test_a_program_that_dies_is_started_again_then_reported(keep: Callable[..., Kept]) -> None:
    """Each end is in its log and on the terminal; the last one with the log's last lines."""
    kept = keep(DIES, 0.05, 0.1)
    eventually(lambda: not kept.keeper.is_alive())
    assert len(kept.starts()) == 3
    assert kept.log().count("program died of SIGSEGV after ") == 3
    for said in (kept.log(), kept.shown()):
        first = said.index("It starts again in 0.05 s.")
        second = said.index("It starts again in 0.1 s.")
        last = said.index("It is not started any more, after 2 times: `make local-down` ends the")
        assert first < second < last
    *_, end = kept.shown().splitlines()
    assert end.startswith("  | child ")
    assert end.endswith(" and the last words")


def test_what_a_dead_program_leaves_ends_with_it(keep: Callable[..., Kept]) -> None:
    """A child of the dead program would hold its port."""
    kept = keep(DIES)
    eventually(lambda: not kept.keeper.is_alive())
    words = kept.log().split()
    left = int(words[words.index("child") + 1])
    eventually(lambda: not is_running(left))
    assert "It is not started again" in kept.shown()


def test_a_kept_program_ends_when_it_is_to(keep: Callable[..., Kept]) -> None:
    """The keeper passes the signal on, and starts nothing."""
    kept = keep(RUNS, 0)
    end_together([kept.keeper])
    assert [is_running(pid) for pid in kept.starts()] == [False]
    assert kept.log() == ""


def test_a_stop_ends_the_wait_for_a_restart(keep: Callable[..., Kept]) -> None:
    """`make local-down` need not wait, and nothing is started after it."""
    kept = keep(DIES, 1000)
    eventually(lambda: "It starts again in 1000 s." in kept.log())
    end_together([kept.keeper])
    assert len(kept.starts()) == 1


def test_a_program_ends_with_its_keeper(keep: Callable[..., Kept]) -> None:
    """`make local-down` knows only the keeper: a program without one would stay for ever."""
    kept = keep(RUNS, 0)
    os.kill(kept.keeper.pid, signal.SIGKILL)
    eventually(lambda: not any(map(is_running, kept.starts())))


def test_a_program_that_dies_while_all_start_is_the_starters(tmp_path: Path) -> None:
    """The starter hears of it at once, with the program's own exit code."""
    children = Children(tmp_path, outlive_us=True)
    try:
        program = Program(
            "program",
            [sys.executable, "-c", START + "sys.exit('no such setting')"],
            {"STARTS": str(tmp_path / "starts")},
            tmp_path,
            restart_waits_s=(0, 0),
        )
        child = children.start(program)
        with pytest.raises(ProcessError, match=r"exit code 1 before it answers(.|\n)*no such sett"):
            child.wait_until(lambda: None, "answers", TIMEOUT_S)
        assert len((tmp_path / "starts").read_text().split()) == 1
    finally:
        children.end_all()
