"""The DAG folder on disk: a symbolic link that always leads to one complete tree, or to none.

A new tree is built beside the current one, the link is replaced in one step, and the old tree is
removed. So a process killed at any moment leaves no half tree in use.
"""

from __future__ import annotations

import itertools
import shutil
from collections.abc import Callable
from pathlib import Path


class DagTrees:
    """The trees of one execution environment."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._numbers = itertools.count(1)
        self.link = folder / "current"  # Airflow's DAG folder.

    @property
    def current(self) -> Path | None:
        """The tree in use."""
        return self.link.resolve() if self.link.is_symlink() else None

    def replace(self, build: Callable[[Path, Path | None], None]) -> None:
        """Replace the current tree; if `build` raises, the current tree stays.

        `build` fills an empty folder, and may link files of its second argument, the current tree.
        """
        current = self.current
        tree = self._folder / f"tree-{next(self._numbers)}"
        try:
            tree.mkdir(parents=True)
            build(tree, current)
        except BaseException:
            shutil.rmtree(tree, ignore_errors=True)
            raise
        fresh = self._folder / "next"
        fresh.unlink(missing_ok=True)
        fresh.symlink_to(tree.name)
        fresh.replace(self.link)
        if current is not None:
            shutil.rmtree(current, ignore_errors=True)
