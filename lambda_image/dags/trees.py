"""The DAG folder on the environment's disk: one whole tree at a time, switched in one step.

Airflow is told of one path for ever, a symbolic link. A tree is built beside the one in use, the
link is then replaced in one step, and the old tree is removed. Whenever the process is killed, the
link leads to a whole tree or to none. It must not know where the files come from.
"""

from __future__ import annotations

import itertools
import shutil
from collections.abc import Callable
from pathlib import Path


class DagTrees:
    """The trees of one environment, in a folder of their own.

    Attributes:
        link: What Airflow is given as its DAG folder.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._numbers = itertools.count(1)
        self.link = folder / "current"

    @property
    def current(self) -> Path | None:
        """The tree in use."""
        return self.link.resolve() if self.link.is_symlink() else None

    def replace(self, build: Callable[[Path, Path | None], None]) -> None:
        """Build a tree and put it in the place of the current one.

        Args:
            build: Fills an empty folder; gets the current tree too, from which files may be
                linked. If it raises, the current tree stays and nothing is left of the new one.
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
