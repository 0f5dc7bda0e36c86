"""Clears the temporary folder after every workload.

Lambda keeps /tmp as long as the execution environment lives, even when its process dies: files that
a workload leaves there fill it, and every later workload can read them.
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

#: With less free space a task's log would not fit.
_LEAST_FREE_BYTES = 1024 * 1024

#: A file with the process id of the folder's owner.
OWNER = ".lambda-environment"


class TemporaryFolder:
    """The temporary folder of one execution environment.

    Create it before anything else uses the folder. A folder that then holds files and no owner's
    mark is shared with other programs, and nothing in it is ever removed.
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
        """Keep everything that is there now: the init phase has ended."""
        self._kept = frozenset(path.name for path in self._folder.iterdir())

    def clear(self) -> None:
        """Remove everything that has come since; log what cannot be removed."""
        if not self._is_own:
            return
        kept = self._kept | {OWNER}
        try:
            paths = [path for path in self._folder.iterdir() if path.name not in kept]
            removals = [_remove(path) for path in paths]
        except OSError as e:
            removals = [str(e)]
        if errors := [error for error in removals if error]:
            invocation_log.write(
                "warning",
                "temporary files cannot be removed: they are left to the next workload",
                errors=errors,
            )

    def leave(self) -> None:
        """Remove the mark, unless the next process still has files to remove."""
        if os.getpid() != self._owner:  # A forked child that ends normally.
            return
        with suppress(OSError):  # The folder itself may be gone.
            if [path.name for path in self._folder.iterdir()] == [OWNER]:
                (self._folder / OWNER).unlink()

    def reason_against(self) -> str | None:
        """Why nothing can be written here; None if there is room."""
        disk = shutil.disk_usage(self._folder)
        if disk.free >= _LEAST_FREE_BYTES:
            return None
        return (
            f"the function's disk is full: {disk.free >> 10} of {disk.total >> 10} KiB are free at "
            f"{self._folder}. Give the function more ephemeral storage, or let its tasks leave "
            "less below AIRFLOW_HOME"
        )


def _is_free(folder: Path) -> bool:
    """Whether a folder is empty, or its owner has ended."""
    mark = folder / OWNER
    try:
        if mark.lstat().st_uid != os.getuid():
            return False
        return environment.is_over(mark.read_text(encoding="ascii", errors="replace"))
    except FileNotFoundError:
        return not any(folder.iterdir())


def _remove(path: Path) -> str | None:
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
