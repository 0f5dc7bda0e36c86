"""The temporary folder between workloads."""

from __future__ import annotations

import copy
import os
import shutil
import stat
from collections.abc import Callable
from functools import partial
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


def test_a_restored_environment_has_its_private_folders(folder: Path) -> None:
    """Also where the disk was not in the snapshot; what came in between is removed."""
    temporary = TemporaryFolder(folder)
    private = folder / "home"
    private.mkdir(mode=stat.S_IRWXU)
    temporary.keep([private])
    temporary._first_free_bytes = 1 << 62  # Of the snapshot's disk, which was larger.
    shutil.rmtree(private)
    leave_things(folder)
    temporary.renew()
    (folder / "of-a-hook").touch()
    temporary.keep_more()
    assert not temporary.is_fuller()
    temporary.clear()
    assert (folder / "of-a-hook").exists()
    (folder / "of-a-hook").unlink()
    assert names(folder) == ["home"]
    assert stat.S_IMODE(private.stat().st_mode) == stat.S_IRWXU
    assert temporary.reason_against() is None


@pytest.mark.parametrize("is_own", [True, False])
def test_a_copy_finds_nothing_of_one_that_died_before_it(folder: Path, *, is_own: bool) -> None:
    """Both copies of a snapshot have the same AIRFLOW_HOME, which is never cleared otherwise."""
    if not is_own:
        (folder / "of-another").touch()
    temporary = TemporaryFolder(folder)
    home = folder / "airflow"
    (home / "dag_bundles").mkdir(parents=True)
    (home / "dag_bundles" / "first.py").touch()
    temporary.keep([home], home)
    (home / "of-a-hook").touch()
    temporary.keep_more(also_home=True)
    first, second = copy.copy(temporary), copy.copy(temporary)
    first.renew()
    first.keep_more()
    leave_things(home)
    leave_things(home / "dag_bundles")
    first.clear()
    assert (home / "file").exists()  # The next workload may use it.
    second.renew()
    left = sorted(str(path.relative_to(home)) for path in home.rglob("*"))
    assert left == ["dag_bundles", "dag_bundles/first.py", "of-a-hook"]


def test_a_copy_has_its_private_folder_whatever_is_in_its_place(folder: Path) -> None:
    """One that died before it may have left a link there."""
    temporary = TemporaryFolder(folder)
    home = folder / "airflow"
    home.mkdir()
    temporary.keep([home], home)
    temporary.keep_more(also_home=True)
    home.rmdir()
    home.symlink_to(folder.parent)
    temporary.renew()
    assert temporary.reason_against() is None
    assert folder.parent.exists()


@pytest.mark.parametrize("is_own", [True, False])
def test_code_that_a_workload_puts_into_airflow_home_is_removed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, *, is_own: bool
) -> None:
    """Airflow imports plugins and settings from there, in the process of each later workload.

    What is not imported stays: tasks may keep it there. So does what was there at the start.
    """
    if not is_own:
        (tmp_path / "of-another").touch()
    temporary = TemporaryFolder(tmp_path)
    home = tmp_path / "airflow"
    (home / "plugins").mkdir(parents=True)
    (home / "plugins" / "first.py").touch()
    for name in ("plugins", "config", "nested/code"):
        monkeypatch.syspath_prepend(str(home / name))
    temporary.keep([home], home)
    for name in ("plugins/evil.py", "config/evil.py", "nested/code/evil.py", "cache/file"):
        (home / name).parent.mkdir(parents=True, exist_ok=True)
        (home / name).touch()
    temporary.clear()
    left = sorted(str(path.relative_to(home)) for path in home.rglob("*"))
    assert left == ["cache", "cache/file", "plugins", "plugins/first.py"]


@pytest.mark.parametrize("code", ["airflow", "."])
def test_what_is_in_use_stays_if_all_of_airflow_home_is_on_the_import_path(
    folder: Path, monkeypatch: pytest.MonkeyPatch, code: str
) -> None:
    """The DAG files of every task would be fetched anew otherwise, and logs would be lost."""
    temporary = TemporaryFolder(folder)
    home = folder / "airflow"
    home.mkdir()
    monkeypatch.syspath_prepend(str(folder / code))
    temporary.keep([home], home, [home / "deep" / "dag_bundles", home / "logs"])
    for name in ("deep/dag_bundles/dag.py", "logs/log", "evil.py", "plugins/evil.py", "deep.py"):
        (home / name).parent.mkdir(parents=True, exist_ok=True)
        (home / name).touch()
    temporary.clear()
    left = sorted(str(path.relative_to(home)) for path in home.rglob("*") if path.is_file())
    assert left == ["deep/dag_bundles/dag.py", "logs/log"]


def test_in_a_folder_of_the_machines_nothing_is_removed(tmp_path: Path) -> None:
    """A folder that was not empty at the start is shared with others."""
    (tmp_path / "of-another").touch()
    temporary = TemporaryFolder(tmp_path)
    temporary.keep()
    leave_things(tmp_path)
    temporary.clear()
    assert len(list(tmp_path.iterdir())) == 4


def test_a_folder_with_room_is_no_reason(tmp_path: Path) -> None:
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


def locked_folder(mark: Path) -> None:
    """Make a folder that nobody may read."""
    (mark / "deep").mkdir(parents=True)
    mark.chmod(0)


def link_to_a_fifo(mark: Path) -> None:
    """Make a link behind which a reader waits for ever."""
    os.mkfifo(mark.with_name("fifo"))
    mark.symlink_to("fifo")


def hard_link(mark: Path) -> None:
    """Make a second name of another file."""
    mark.with_name("other").touch()
    mark.hardlink_to(mark.with_name("other"))


#: What a workload may put in the place of the mark.
REPLACEMENTS: dict[str, Callable[[Path], object]] = {
    "an empty file": Path.touch,
    "words": lambda mark: mark.write_text("no number"),
    "a negative number": lambda mark: mark.write_text("-1"),
    "bytes": lambda mark: mark.write_bytes(b"\xff"),
    "much data": lambda mark: mark.write_bytes(bytes(2**20)),
    "a file without rights": partial(Path.touch, mode=0),
    "a folder": Path.mkdir,
    "a locked folder": locked_folder,
    "a FIFO": os.mkfifo,
    "a socket": partial(os.mknod, mode=stat.S_IFSOCK),
    "a link": lambda mark: mark.symlink_to(mark.parent.parent),
    "a link to nothing": lambda mark: mark.symlink_to("nothing"),
    "a link to a FIFO": link_to_a_fifo,
    "a hard link": hard_link,
}


@pytest.mark.parametrize("replace", REPLACEMENTS.values(), ids=REPLACEMENTS)
def test_whatever_is_in_the_place_of_the_mark_the_folder_is_cleared(
    folder: Path, replace: Callable[[Path], object]
) -> None:
    """Only a workload can have done that, so the next process removes it and goes on."""
    TemporaryFolder(folder)
    leave_things(folder)
    (folder / OWNER).unlink()
    replace(folder / OWNER)
    temporary = TemporaryFolder(folder)
    assert names(folder) == []
    leave_things(folder)
    temporary.clear()
    assert names(folder) == []
    assert (folder / OWNER).read_text() == str(os.getpid())
    assert folder.parent.exists()


@pytest.mark.parametrize("replace", REPLACEMENTS.values(), ids=REPLACEMENTS)
def test_after_each_workload_the_mark_is_made_anew(
    folder: Path, replace: Callable[[Path], object]
) -> None:
    """Data that a workload hid in the mark is gone, and so is what it put in its place."""
    temporary = TemporaryFolder(folder)
    temporary.keep()
    (folder / OWNER).unlink()
    replace(folder / OWNER)
    temporary.clear()
    assert names(folder) == []
    mark = (folder / OWNER).lstat()
    assert stat.S_ISREG(mark.st_mode)
    assert (mark.st_nlink, mark.st_size) == (1, len(str(os.getpid())))


def test_a_mark_of_another_user_gives_no_right(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Another user's folder is not touched, whatever its mark is."""
    (folder / OWNER).mkdir()
    leave_things(folder)
    monkeypatch.setattr(os, "getuid", lambda: (folder / OWNER).stat().st_uid + 1)
    TemporaryFolder(folder).clear()
    assert names(folder) == ["file", "folder", "link"]


def test_folders_that_are_kept_are_cleared_too(folder: Path) -> None:
    """What the init phase made stays, nothing else stays beside it; AIRFLOW_HOME keeps all."""
    temporary = TemporaryFolder(folder)
    home, airflow_home = folder / "home", folder / "airflow"
    for made in (home / ".cache" / "of-init", airflow_home / "dags"):
        made.mkdir(parents=True)
    temporary.keep([home, airflow_home], airflow_home)
    for left in (home / "left", home / ".cache" / "left", airflow_home / "cached"):
        left.mkdir()
    (home / ".cache").chmod(0)
    temporary.clear()
    assert [path.name for path in home.rglob("*")] == [".cache", "of-init"]
    assert sorted(path.name for path in airflow_home.iterdir()) == ["cached", "dags"]


def test_a_private_folder_is_cleared_even_in_a_folder_of_the_machines(tmp_path: Path) -> None:
    """Nobody else has files in it."""
    (tmp_path / "of-another").touch()
    temporary = TemporaryFolder(tmp_path)
    home = tmp_path / "home"
    home.mkdir()
    temporary.keep([home])
    (home / "left").touch()
    leave_things(tmp_path)
    temporary.clear()
    assert list(home.iterdir()) == []
    assert len(list(tmp_path.iterdir())) == 5


def by_a_file(home: Path) -> None:
    """Put a file in the place of a folder."""
    home.rmdir()
    home.touch()


def by_a_link(home: Path) -> None:
    """Put a link in the place of a folder."""
    home.rmdir()
    home.symlink_to(home.parent)


@pytest.mark.parametrize(
    ("spoil", "says"),
    [
        (Path.rmdir, "No such file or directory"),
        (by_a_file, "Not a directory"),
        (by_a_link, "put a link in the place"),
    ],
)
def test_without_its_private_folders_nothing_can_run(
    folder: Path, spoil: Callable[[Path], object], says: str
) -> None:
    """The reason names the folder."""
    temporary = TemporaryFolder(folder)
    home = folder / "home"
    home.mkdir()
    temporary.keep([home])
    assert temporary.reason_against() is None
    spoil(home)
    temporary.clear()
    reason = temporary.reason_against()
    assert reason
    assert str(home) in reason
    assert says in reason


def test_a_removed_temporary_folder_is_a_reason(folder: Path) -> None:
    """A workload may remove even that; nothing raises."""
    temporary = TemporaryFolder(folder)
    temporary.keep()
    shutil.rmtree(folder)
    temporary.clear()
    assert "removed the folder of temporary files" in (temporary.reason_against() or "")


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
