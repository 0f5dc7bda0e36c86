"""What `up` leaves for `down`."""

from __future__ import annotations

import io
from pathlib import Path

from rich.console import Console

from demo import local
from demo.local import State
from demo.paths import Home
from demo.process_table import Identity
from demo.screen import Screen

#: Linux's process ids end at 2^22: never a running process.
GONE = Identity(name="scheduler", pid=2**22 + 1, started_at_ticks=1, stop_signal=15)


def state(tmp_path: Path) -> State:
    """An environment whose processes are gone, with a folder outside of its home."""
    outside = tmp_path / "outside"
    outside.mkdir()
    return State(
        url="http://127.0.0.1:1",
        aws_endpoint="http://127.0.0.1:2",
        groups=((GONE,), ()),
        folders_outside=(outside,),
    )


def screen() -> tuple[Screen, io.StringIO]:
    """A screen that is not a terminal."""
    output = io.StringIO()
    return Screen(Console(file=output, width=160)), output


def test_the_state_is_read_as_it_was_written(tmp_path: Path) -> None:
    """Groups, process identities and folders survive the file."""
    written = state(tmp_path)
    written.write(tmp_path / "state.json")
    assert State.read(tmp_path / "state.json") == written


def test_a_process_that_is_gone_is_not_alive(tmp_path: Path) -> None:
    """After a reboot the file is there and nothing is up."""
    assert state(tmp_path).alive() == []


def test_down_forgets_what_is_gone(tmp_path: Path) -> None:
    """`down` removes the folders outside and the file, even if every process has ended."""
    home = Home(tmp_path)
    written = state(tmp_path)
    written.write(home.state)
    told, _ = screen()
    assert local.down(told, home) == 0
    assert not home.state.exists()
    assert not written.folders_outside[0].exists()


def test_down_without_up_says_so(tmp_path: Path) -> None:
    """There is nothing to end, and that is no failure."""
    told, output = screen()
    assert local.down(told, Home(tmp_path)) == 0
    assert "Nothing is up" in output.getvalue()
