"""The state that `up` leaves for `down`."""

from __future__ import annotations

import io
import os
import signal
import subprocess
from pathlib import Path

import pytest
from rich.console import Console

from demo import kept_up
from demo.installation.environment import Environment
from demo.installation.project import Project
from demo.kept_up import State
from demo.machine.process_table import Identity
from demo.machine.processes import ProcessError
from demo.paths import Home
from demo.screen import Screen

#: Linux's process ids end at 2^22: never a running process.
GONE = Identity(name="scheduler", pid=2**22 + 1, started_s=0.01, stop_signal=15)


def state(tmp_path: Path) -> State:
    """An environment whose processes are gone, with a folder outside of its home."""
    outside = tmp_path / "outside"
    outside.mkdir()
    return State(
        url="http://127.0.0.1:1",
        groups=((GONE,), ()),
        folders_outside=(outside,),
    )


def screen() -> tuple[Screen, io.StringIO]:
    """A screen that is not a terminal."""
    output = io.StringIO()
    return Screen(Console(file=output, width=160)), output


def test_the_state_is_read_as_it_was_written(tmp_path: Path) -> None:
    """Groups, process identities and folders are restored."""
    written = state(tmp_path)
    written.write(tmp_path / "state.json")
    assert State.read(tmp_path / "state.json") == written


def test_a_state_file_of_another_version_is_named(tmp_path: Path) -> None:
    """The error names the file and what to do with it, not the fields that it lacks."""
    file = tmp_path / "state.json"
    file.write_text('{"pid": 1}')
    with pytest.raises(ProcessError, match="is not this version's: end what it names") as error:
        State.read(file)
    assert str(file) in str(error.value)


def test_a_process_that_is_gone_is_not_alive(tmp_path: Path) -> None:
    """A process that has ended is not alive, although the file lists it."""
    assert state(tmp_path).alive() == []


def test_down_removes_the_state_of_ended_processes(tmp_path: Path) -> None:
    """`down` removes the folders outside and the file, even if every process has ended."""
    home = Home(tmp_path)
    written = state(tmp_path)
    written.write(home.state)
    told, _ = screen()
    assert kept_up.down(told, home) == 0
    assert not home.state.exists()
    assert not written.folders_outside[0].exists()


def test_down_without_up_says_so(tmp_path: Path) -> None:
    """Without a state file, `down` succeeds and says that nothing is up."""
    told, output = screen()
    assert kept_up.down(told, Home(tmp_path)) == 0
    assert "Nothing is up" in output.getvalue()


def here() -> Identity:
    """This process, which is alive; no test may end it."""
    return Identity.of("airflow-api-server", os.getpid(), signal.SIGTERM)


def test_a_second_up_starts_nothing(tmp_path: Path) -> None:
    """With every program alive, a second `up` prints Airflow's URL."""
    home = Home(tmp_path / "home")
    home.path.mkdir()
    State("http://127.0.0.1:1", ((here(),),), ()).write(home.state)
    told, output = screen()
    assert kept_up.up(told, home, Project()) == 0
    assert "Already up: Airflow is at http://127.0.0.1:1" in output.getvalue()


def test_a_second_up_names_ended_programs(tmp_path: Path) -> None:
    """With one program ended, a second `up` fails, shows the end of its log, says what to do."""
    home = Home(tmp_path / "home")
    home.logs.mkdir(parents=True)
    (home.logs / "scheduler.log").write_text("the last words\n")
    State("http://127.0.0.1:1", ((here(), GONE),), ()).write(home.state)
    told, output = screen()
    assert kept_up.up(told, home, Project()) == 1
    said = output.getvalue()
    assert "scheduler ended by itself" in said
    assert f"The last lines of {home.logs / 'scheduler.log'}:\n  | the last words" in said
    assert "`make local-down`" in said
    assert "Already up" not in said


class StartedUntilItFailed(Environment):
    """An environment that does not start."""

    def start(self) -> None:
        """Fail."""
        raise ProcessError("the first program did not start")


def test_up_ends_what_a_killed_up_left(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The programs of a killed `up` end before the next `up` starts its own."""
    home = Home(tmp_path / "home")
    home.path.mkdir()
    left = subprocess.Popen(["sleep", "1000"], start_new_session=True)
    try:
        identity = Identity.of("embedded-aws", left.pid, signal.SIGTERM)
        State(None, ((), (identity,)), ()).write(home.state)
        monkeypatch.setattr(kept_up, "Environment", StartedUntilItFailed)
        told, output = screen()
        with pytest.raises(ProcessError, match="the first program did not start"):
            kept_up.up(told, home, Project())
        assert f"Ending embedded-aws ({left.pid})" in output.getvalue()
        assert not identity.is_alive()
        assert not home.state.exists()
    finally:
        left.kill()
        left.wait()
