"""The folder for temporary files between workloads."""

from __future__ import annotations

from pathlib import Path

from lambda_image.temporary import TemporaryFolder


def leave_things(folder: Path) -> None:
    """Leave what workloads leave."""
    (folder / "file").write_text("left")
    (folder / "folder" / "deep").mkdir(parents=True)
    (folder / "folder" / "deep" / "file").write_text("left")
    (folder / "link").symlink_to(folder.parent)


def test_what_a_workload_leaves_is_removed(tmp_path: Path) -> None:
    """Files, folders and links go, links without what they lead to; what was kept stays."""
    folder = tmp_path / "tmp"
    folder.mkdir()
    temporary = TemporaryFolder(folder)
    (folder / "home").mkdir()
    temporary.keep()
    leave_things(folder)
    temporary.clear()
    assert [path.name for path in folder.iterdir()] == ["home"]
    assert tmp_path.exists()


def test_in_a_folder_of_the_machines_nothing_is_removed(tmp_path: Path) -> None:
    """It was not empty when the environment began: others use it."""
    (tmp_path / "of-another").touch()
    temporary = TemporaryFolder(tmp_path)
    temporary.keep()
    leave_things(tmp_path)
    temporary.clear()
    assert len(list(tmp_path.iterdir())) == 4


def test_a_folder_with_room_is_no_obstacle(tmp_path: Path) -> None:
    """Only a full disk keeps a workload from its start."""
    assert TemporaryFolder(tmp_path).obstacle() is None
