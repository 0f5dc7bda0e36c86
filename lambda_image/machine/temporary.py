"""The folder for temporary files, between workloads: each finds it as the init phase left it.

Lambda keeps /tmp for as long as the execution environment lives, longer than a process that dies in
it: what one workload leaves there fills it, and every later one can read it. It must not know what
a workload is.
"""

from __future__ import annotations

import atexit
import os
import shutil
import stat
import tempfile
from contextlib import suppress
from pathlib import Path

from lambda_image.logs import invocation_log
from lambda_image.machine import environment

#: With less, a task's own log would not fit.
_LEAST_FREE_BYTES = 1024 * 1024

#: Holds the id of the process that found the folder empty, or took it over from one that died.
OWNER = ".lambda-environment"


class TemporaryFolder:
    """The temporary folder of one execution environment.

    Made before anything is put into it. One that has something in it by then, and no owner's mark,
    is no environment's own but a machine's, and nothing in it is ever removed.
    """

    def __init__(self, folder: Path | None = None) -> None:
        self._folder = folder or Path(tempfile.gettempdir())
        self._owner = os.getpid()
        self._kept: frozenset[str] = frozenset()
        self._is_own = _is_free(self._folder)
        if self._is_own:
            self.clear()
            (self._folder / OWNER).write_text(str(self._owner), encoding="ascii")
            atexit.register(self.leave)

    def keep(self) -> None:
        """Take what is there now for the environment's; after the init phase."""
        self._kept = frozenset(path.name for path in self._folder.iterdir())

    def clear(self) -> None:
        """Remove whatever has come since; what cannot be removed is logged."""
        if not self._is_own:
            return
        try:
            paths = list(self._folder.iterdir())
        except OSError as e:
            _tell_left([str(e)])
            return
        kept = self._kept | {OWNER}
        if errors := [error for path in paths if path.name not in kept and (error := _error(path))]:
            _tell_left(errors)

    def leave(self) -> None:
        """Take the mark along, unless there is something that the next process has to remove."""
        if os.getpid() != self._owner:  # A forked child that ends the usual way.
            return
        with suppress(OSError):  # The folder itself may be gone by then.
            if [path.name for path in self._folder.iterdir()] == [OWNER]:
                (self._folder / OWNER).unlink()

    def obstacle(self) -> str | None:
        """Why nothing can be written here; None if something can."""
        disk = shutil.disk_usage(self._folder)
        if disk.free >= _LEAST_FREE_BYTES:
            return None
        return (
            f"the function's disk is full: {disk.free >> 10} of {disk.total >> 10} KiB are free at "
            f"{self._folder}. Give the function more ephemeral storage, or let its tasks leave "
            "less below AIRFLOW_HOME"
        )


def _is_free(folder: Path) -> bool:
    """Whether a folder is empty, or what is in it belongs to a process that is no more."""
    mark = folder / OWNER
    try:
        if mark.lstat().st_uid != os.getuid():
            return False
        return environment.is_over(mark.read_text(encoding="ascii", errors="replace"))
    except FileNotFoundError:
        return not any(folder.iterdir())


def _error(path: Path) -> str | None:
    """Remove a file or folder; returns why that is not possible."""
    try:
        if path.is_dir() and not path.is_symlink():
            _remove_folder(path)
        else:
            path.unlink(missing_ok=True)
    except (OSError, RecursionError) as e:  # The latter where folders are nested a thousandfold.
        return f"{path}: {type(e).__name__}: {e}"
    return None


def _remove_folder(folder: Path) -> None:
    with suppress(OSError):
        shutil.rmtree(folder)
        return
    _unlock(folder)
    shutil.rmtree(folder, ignore_errors=True)
    if folder.exists():
        shutil.rmtree(folder)  # For its error.


def _unlock(folder: Path) -> None:
    """Take back the rights to a folder and to all in it, without which nothing is removed."""
    locked = [folder]
    while locked:
        with suppress(OSError):  # Another user's.
            folder = locked.pop()
            folder.chmod(stat.S_IRWXU)
            locked += [Path(e) for e in os.scandir(folder) if e.is_dir(follow_symlinks=False)]


def _tell_left(errors: list[str]) -> None:
    invocation_log.write(
        "warning",
        "temporary files cannot be removed: they are left to the next workload",
        errors=errors,
    )
