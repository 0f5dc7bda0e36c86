"""The temporary folder: cleared after every workload, and checked for the next one.

Lambda keeps /tmp as long as the execution environment lives, even when its process dies: files that
a workload leaves there fill it, and every later workload can read them. The kernel's System V
objects are kept in the same way, and are removed with the files.
"""

from __future__ import annotations

import os
import shutil
import stat
import sys
import tempfile
from collections.abc import Collection, Iterator, Sequence
from contextlib import suppress
from pathlib import Path

from lambda_image import host
from lambda_image.logs import invocation_log
from lambda_image.machine import environment, system_v

#: With less free space a task's log would not fit.
_LEAST_FREE_BYTES = 1024 * 1024
#: A task makes a few folders and files before its code runs.
_LEAST_FREE_FILES = 100

#: A file with the process id of the folder's owner.
OWNER = ".lambda-environment"


class TemporaryFolder:
    """The temporary folder of one execution environment.

    Create it before anything else uses the folder. A folder that then holds files and no owner's
    mark is shared with other programs, and nothing in it is ever removed but our private folders.
    """

    def __init__(self, folder: Path | None = None) -> None:
        self._folder = folder or Path(tempfile.gettempdir())
        self._process = os.getpid()
        self._private: tuple[Path, ...] = ()
        self._airflow_home: Path | None = None
        self._in_use: tuple[Path, ...] = ()
        self._code: tuple[Path, ...] = ()
        self._kept: frozenset[Path] = frozenset()
        self._first_free_bytes = 0
        self._owns_machine = environment.owns(self._folder)
        self._kept_objects: frozenset[system_v.SystemVObject] = frozenset()
        self._is_own = self._owns_machine or _is_free(self._folder)
        if self._is_own:
            self.clear()
            environment.at_end(self.leave)

    def keep(
        self,
        private: Collection[Path] = (),
        airflow_home: Path | None = None,
        in_use: Collection[Path] = (),
    ) -> None:
        """Keep everything that is there now: the init phase has ended.

        Args:
            private: The folders that this process made for itself. They are cleared like the rest,
                and no workload can run without one of them.
            airflow_home: Is kept with all that comes into it later, but for what is imported from
                it: a later workload's process would run that code.
            in_use: Folders in AIRFLOW_HOME that are kept even if all of it is on the import path.
        """
        self._private, self._airflow_home = tuple(private), airflow_home
        self._in_use = tuple(f for f in in_use if airflow_home and airflow_home in f.parents)
        self._code = tuple(Path(entry) for entry in sys.path if entry)
        self.keep_more()

    def keep_more(self, *, also_home: bool = False) -> None:
        """Keep also what has come since, and take the free space of now for that of the start.

        Args:
            also_home: Remember what is in AIRFLOW_HOME too, for `renew`.
        """
        self._kept = frozenset(
            path for root in self._roots() for path in self._below(root, also_home=also_home)
        )
        self._kept_objects = system_v.existing()
        self._first_free_bytes = shutil.disk_usage(self._folder).free

    def renew(self) -> None:
        """Serve another environment, restored with this memory: its disk may be another one.

        The disk may also be one on which another copy of this memory has died. What that one's
        workloads left below AIRFLOW_HOME goes too, as it does with the folder of a dead process:
        a disk that they filled would stay full otherwise.
        """
        self._process = os.getpid()
        for folder in self._private:
            if folder.is_symlink() or not folder.is_dir():
                remove(folder)
            with suppress(OSError):  # What cannot be removed is named by the check of a workload.
                folder.mkdir(mode=stat.S_IRWXU, exist_ok=True)
        self._clear(also_home=True)

    def clear(self) -> None:
        """Remove everything that has come since; log what cannot be removed. Never raises."""
        self._clear(also_home=False)

    def _clear(self, *, also_home: bool) -> None:
        errors: list[str] = []
        for folder in self._private:
            with suppress(OSError):
                folder.chmod(stat.S_IRWXU)
        try:
            for root in self._roots():
                errors += filter(None, map(remove, list(self._left_in(root, also_home=also_home))))
            if self._is_own:
                self._mark()
        except OSError as e:
            errors.append(str(e))
        if self._owns_machine:
            errors += system_v.remove(self._kept_objects)
        if errors:
            invocation_log.write(
                "warning",
                "temporary files cannot be removed: they are left to the next workload",
                errors=errors,
            )

    def leave(self) -> None:
        """Remove the mark, unless the next process still has files to remove."""
        if os.getpid() != self._process:  # A forked child that ends normally.
            return
        with suppress(OSError):  # The folder itself may be gone.
            if [path.name for path in self._folder.iterdir()] == [OWNER]:
                (self._folder / OWNER).unlink()

    def reason_against(self) -> str | None:
        """Why nothing can be written here; None if there is room. Never raises."""
        try:
            disk = os.statvfs(self._folder)
        except OSError as e:
            return f"a workload removed the folder of temporary files: {e}"
        free, total = disk.f_bavail * disk.f_frsize, disk.f_blocks * disk.f_frsize
        remedy = (
            f"Give the {host.name()} more ephemeral storage, or let its tasks leave less below "
            "AIRFLOW_HOME"
        )
        if free < _LEAST_FREE_BYTES:
            return (
                f"the {host.name()}'s disk is full: {free >> 10} of {total >> 10} KiB are free at "
                f"{self._folder}. {remedy}"
            )
        if disk.f_files and disk.f_favail < _LEAST_FREE_FILES:  # 0: there is no limit.
            return (
                f"the {host.name()}'s disk is full: {disk.f_favail} of {disk.f_files} files can "
                f"still be made at {self._folder}. {remedy}"
            )
        for folder in self._private:
            try:
                if folder.is_symlink():
                    return f"a workload put a link in the place of {folder}"
                tempfile.TemporaryFile(dir=folder).close()
            except OSError as e:
                return f"nothing can be written to {folder} any more: {e}"
        return None

    def is_fuller(self) -> bool:
        """Whether clearly less is free than when the init phase ended. Never raises."""
        try:
            free = shutil.disk_usage(self._folder).free
        except OSError:
            return True
        return free + _LEAST_FREE_BYTES <= self._first_free_bytes

    def _roots(self) -> Sequence[Path]:
        """The folders that are cleared."""
        return [self._folder] if self._is_own else self._private

    def _below(self, folder: Path, *, also_home: bool) -> Iterator[Path]:
        """Everything in a folder and in the folders in it that is cleared."""
        for entry in os.scandir(folder):
            path = Path(entry.path)
            if also_home or self._is_cleared(path):
                yield path
                if entry.is_dir(follow_symlinks=False):
                    yield from self._below(path, also_home=also_home)

    def _left_in(self, folder: Path, *, also_home: bool) -> Iterator[Path]:
        """What a workload left in a folder, or in one of the folders that are kept in it."""
        for entry in _entries(folder):
            path = Path(entry.path)
            if not (also_home or self._is_cleared(path)):
                continue
            if path not in self._kept:
                yield path
            elif entry.is_dir(follow_symlinks=False):
                yield from self._left_in(path, also_home=also_home)

    def _is_cleared(self, path: Path) -> bool:
        """Whether a path is outside of AIRFLOW_HOME, or leads to code that is imported from it."""
        home = self._airflow_home
        if home is None or home not in path.parents:
            return True
        is_in_use = any(_is_on_one_line(path, folder) for folder in self._in_use)
        return any(
            _is_on_one_line(path, code)
            and not (is_in_use and (code == home or code in home.parents))
            for code in self._code
        )

    def _mark(self) -> None:
        """Make the mark anew: a workload may have put anything into it, or in its place.

        Raises:
            OSError: It cannot be made.
        """
        mark = self._folder / OWNER
        if error := remove(mark):
            raise OSError(error)
        with mark.open("x", encoding="ascii") as file:
            file.write(str(self._process))


def _is_on_one_line(path: Path, other: Path) -> bool:
    """Whether one of two paths leads to the other, or is the same."""
    return path == other or path in other.parents or other in path.parents


def _is_free(folder: Path) -> bool:
    """Whether a folder is empty, or its mark names no process that lives.

    A mark of our own user that is no file, or that holds anything but a process id, was changed by
    a workload, or cut by a full disk: the folder is an execution environment's all the same.
    """
    mark = folder / OWNER
    try:
        found = mark.lstat()
    except FileNotFoundError:
        return not any(folder.iterdir())
    if found.st_uid != os.getuid():
        return False
    if not stat.S_ISREG(found.st_mode):
        return True
    try:
        with mark.open(encoding="ascii", errors="replace") as file:
            pid = file.read(32)
    except OSError:
        return True
    return not pid.isdecimal() or environment.is_over(pid)


def _entries(folder: Path) -> list[os.DirEntry[str]]:
    try:
        return list(os.scandir(folder))
    except PermissionError:
        folder.chmod(stat.S_IRWXU)
        return list(os.scandir(folder))


def remove(path: Path) -> str | None:
    """Remove a file or folder; returns the reason if that fails."""
    try:
        if path.is_dir() and not path.is_symlink():
            _remove_folder(path)
        else:
            path.unlink(missing_ok=True)
    except (OSError, RecursionError) as e:  # RecursionError: folders nested a thousandfold.
        return f"{path}: {type(e).__name__}: {e}"
    return None


def _remove_folder(folder: Path) -> None:
    with suppress(OSError):
        shutil.rmtree(folder)
        return
    _unlock(folder)
    shutil.rmtree(folder, ignore_errors=True)
    if folder.exists():
        shutil.rmtree(folder)  # Raises the error.


def _unlock(folder: Path) -> None:
    """Make a folder and all folders in it writable, without which nothing in them is removed."""
    locked = [folder]
    while locked:
        with suppress(OSError):  # The folder of another user.
            folder = locked.pop()
            folder.chmod(stat.S_IRWXU)
            locked += [Path(e) for e in os.scandir(folder) if e.is_dir(follow_symlinks=False)]
