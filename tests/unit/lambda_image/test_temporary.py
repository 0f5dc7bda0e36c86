"""The temporary folder between workloads."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from lambda_image.machine.temporary import OWNER, TemporaryFolder


def leave_things(folder: Path) -> None:
    """Leave a file, a folder and a link."""
    (folder / "file").write_text("left")
    (folder / "folder" / "deep").mkdir(parents=True)
    (folder / "folder" / "deep" / "file").write_text("left")
    (folder / "link").symlink_to(folder.parent)


def test_what_a_workload_leaves_is_removed(tmp_path: Path) -> None:
    """Files, folders and links are removed, but not the target of a link or kept files."""
    folder = tmp_path / "tmp"
    folder.mkdir()
    temporary = TemporaryFolder(folder)
    (folder / "home").mkdir()
    temporary.keep()
    leave_things(folder)
    temporary.clear()
    assert names(folder) == ["home"]
    assert tmp_path.exists()


def test_in_a_folder_of_the_machines_nothing_is_removed(tmp_path: Path) -> None:
    """A folder that was not empty at the start is shared with others."""
    (tmp_path / "of-another").touch()
    temporary = TemporaryFolder(tmp_path)
    temporary.keep()
    leave_things(tmp_path)
    temporary.clear()
    assert len(list(tmp_path.iterdir())) == 4


def test_a_folder_with_room_is_no_obstacle(tmp_path: Path) -> None:
    """Only a full disk is a reason against a start."""
    assert TemporaryFolder(tmp_path).reason_against() is None


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """The empty folder of an execution environment."""
    folder = tmp_path / "tmp"
    folder.mkdir()
    return folder


def names(folder: Path) -> list[str]:
    """List a folder, without the owner's mark."""
    return sorted(path.name for path in folder.iterdir() if path.name != OWNER)


def of_a_dead_process(folder: Path) -> None:
    """Let the folder belong to a process that was killed."""
    TemporaryFolder(folder)
    (folder / OWNER).write_text(str(int(Path("/proc/sys/kernel/pid_max").read_text()) + 1))
    leave_things(folder)


@pytest.mark.parametrize("has_begun_anew", [True, False])
def test_what_was_left_to_the_next_process_is_removed(
    folder: Path, *, has_begun_anew: bool
) -> None:
    """After the death of its owner the folder belongs to the next process."""
    if has_begun_anew:
        TemporaryFolder(folder)
        leave_things(folder)
    else:
        of_a_dead_process(folder)
    temporary = TemporaryFolder(folder)
    assert names(folder) == []
    temporary.keep()
    leave_things(folder)
    temporary.clear()
    assert names(folder) == []


def test_in_the_folder_of_a_process_that_lives_nothing_is_removed(folder: Path) -> None:
    """The folder belongs to the first of two running processes."""
    TemporaryFolder(folder)
    (folder / OWNER).write_text(str(os.getppid()))
    leave_things(folder)
    second = TemporaryFolder(folder)
    second.clear()
    assert names(folder) == ["file", "folder", "link"]
    assert (folder / OWNER).read_text() == str(os.getppid())


@pytest.mark.parametrize("mark", ["", "no number", "-1", "\xff"])
def test_a_mark_that_says_nothing_gives_no_right(folder: Path, mark: str) -> None:
    """With an unreadable mark the folder may be shared: nothing is removed."""
    (folder / OWNER).write_text(mark)
    leave_things(folder)
    TemporaryFolder(folder).clear()
    assert names(folder) == ["file", "folder", "link"]


def test_the_mark_goes_with_the_last_file(folder: Path) -> None:
    """An ending process removes its mark only from an empty folder."""
    temporary = TemporaryFolder(folder)
    leave_things(folder)
    temporary.leave()
    assert (folder / OWNER).exists()
    temporary.clear()
    temporary.leave()
    assert list(folder.iterdir()) == []


def test_what_cannot_be_removed_is_told(
    folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """The error is logged, and the rest is removed."""
    temporary = TemporaryFolder(folder)
    leave_things(folder)
    stock = os.unlink

    def unlink(path: str | Path, **more: int) -> None:
        if str(path).endswith("file"):
            raise PermissionError(1, "Operation not permitted", str(path))
        stock(path, **more)

    monkeypatch.setattr(os, "unlink", unlink)
    temporary.clear()
    assert names(folder) == ["file", "folder"]
    (line,) = capsys.readouterr().out.splitlines()
    assert "left to the next workload" in line
    assert str(folder / "file") in line
