"""The folder for temporary files, between workloads: each finds it as the init phase left it.

Lambda keeps /tmp for as long as the execution environment lives: what one workload leaves there
fills it, and every later one can read it. It must not know what a workload is.
"""

from __future__ import annotations

import shutil
import tempfile
from pathlib import Path

#: Less is as good as nothing: a task's log alone needs it.
_LEAST_FREE_BYTES = 1024 * 1024


class TemporaryFolder:
    """The temporary folder of one execution environment.

    Made before anything is put into it. One that has something in it by then is no environment's
    own but a machine's, and nothing in it is ever removed.
    """

    def __init__(self, folder: Path | None = None) -> None:
        self._folder = folder or Path(tempfile.gettempdir())
        self._is_own = not any(self._folder.iterdir())
        self._kept: frozenset[str] = frozenset()

    def keep(self) -> None:
        """Take what is there now for the environment's; after the init phase."""
        self._kept = frozenset(path.name for path in self._folder.iterdir())

    def clear(self) -> None:
        """Remove whatever has come since, as far as that is possible."""
        if not self._is_own:
            return
        for path in self._folder.iterdir():
            if path.name in self._kept:
                continue
            if path.is_dir() and not path.is_symlink():
                shutil.rmtree(path, ignore_errors=True)
            else:
                path.unlink(missing_ok=True)

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
