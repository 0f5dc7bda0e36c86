"""The choice between bubblewrap and plain processes, depending on the machine."""

from __future__ import annotations

import pytest

from local_aws.sandbox import bubblewrap
from local_aws.sandbox.cgroup import MemoryCgroups
from local_aws.sandbox.sandbox import Confinement


@pytest.fixture(autouse=True)
def _no_cgroups(monkeypatch: pytest.MonkeyPatch) -> None:
    """Find no cgroups, whatever the machine allows."""
    monkeypatch.setattr(MemoryCgroups, "find", lambda: None)


def a_machine(monkeypatch: pytest.MonkeyPatch, program: str | None, reason: str | None) -> None:
    """A machine with or without bubblewrap, and the reason why it fails there."""
    monkeypatch.setattr(bubblewrap, "find", lambda: program)
    monkeypatch.setattr(bubblewrap, "failure_reason", lambda _program: reason)


@pytest.mark.parametrize(
    ("program", "reason", "chosen"),
    [("/bin/bwrap", None, "/bin/bwrap"), ("/bin/bwrap", "No permissions", ""), (None, None, "")],
)
def test_auto_takes_walls_where_they_work(
    monkeypatch: pytest.MonkeyPatch, program: str | None, reason: str | None, chosen: str
) -> None:
    """Without bubblewrap, or where it is forbidden, sandboxes are plain processes."""
    a_machine(monkeypatch, program, reason)
    assert Confinement.choose("auto").bubblewrap == chosen


def test_the_log_says_why_there_are_no_walls(monkeypatch: pytest.MonkeyPatch) -> None:
    """Only if somebody asked for them."""
    a_machine(monkeypatch, "/bin/bwrap", "No permissions")
    without = (
        "plain processes (bwrap does not work here: No permissions), memory limits by sampling"
    )
    assert str(Confinement.choose("auto")) == without
    assert str(Confinement.choose("process")) == "plain processes, memory limits by sampling"


def test_bwrap_that_does_not_work_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    """The message holds bubblewrap's own reason and both solutions."""
    a_machine(monkeypatch, "/bin/bwrap", "No permissions to create a new namespace")
    with pytest.raises(ValueError, match="No permissions to create") as caught:
        Confinement.choose("bwrap")
    assert "--sandbox process" in str(caught.value)


def test_process_does_not_use_bubblewrap(monkeypatch: pytest.MonkeyPatch) -> None:
    """Plain processes are used even where bubblewrap works."""
    a_machine(monkeypatch, "/bin/bwrap", None)
    assert Confinement.choose("process").bubblewrap == ""
