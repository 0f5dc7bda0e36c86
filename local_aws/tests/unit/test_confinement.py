"""What the embedded AWS makes sandboxes of, by what the machine allows."""

from __future__ import annotations

import pytest

from local_aws.sandbox import bubblewrap
from local_aws.sandbox.cgroup import MemoryCgroups
from local_aws.sandbox.sandbox import Confinement


@pytest.fixture(autouse=True)
def _no_cgroups(monkeypatch: pytest.MonkeyPatch) -> None:
    """Neither made nor missed here."""
    monkeypatch.setattr(MemoryCgroups, "find", lambda: None)


def a_machine(monkeypatch: pytest.MonkeyPatch, program: str | None, problem: str | None) -> None:
    """One with or without the program, and with what it says when it is run."""
    monkeypatch.setattr(bubblewrap, "find", lambda: program)
    monkeypatch.setattr(bubblewrap, "problem", lambda _program: problem)


@pytest.mark.parametrize(
    ("program", "problem", "chosen"),
    [("/bin/bwrap", None, "/bin/bwrap"), ("/bin/bwrap", "No permissions", ""), (None, None, "")],
)
def test_auto_takes_walls_where_they_work(
    monkeypatch: pytest.MonkeyPatch, program: str | None, problem: str | None, chosen: str
) -> None:
    """No program, or one that this machine forbids: plain processes, without an error."""
    a_machine(monkeypatch, program, problem)
    assert Confinement.choose("auto").bubblewrap == chosen


def test_walls_that_are_asked_for_and_cannot_be_had_are_an_error(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The message holds what bubblewrap said, and both ways out."""
    a_machine(monkeypatch, "/bin/bwrap", "No permissions to create a new namespace")
    with pytest.raises(ValueError, match="No permissions to create") as caught:
        Confinement.choose("bwrap")
    assert "--sandbox process" in str(caught.value)


def test_processes_that_are_asked_for_are_processes(monkeypatch: pytest.MonkeyPatch) -> None:
    """Bubblewrap is not even tried."""
    a_machine(monkeypatch, "/bin/bwrap", None)
    assert Confinement.choose("process").bubblewrap == ""
