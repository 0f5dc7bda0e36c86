"""Folders on disk that each hold the files of one manifest, whole or not at all.

A tree is built under another name and renamed when it is complete. It holds a copy of its manifest,
so that it can be checked, and lends its files to other trees. Files that are the same are hard
links. Whoever changes trees holds the bundle's lock.
"""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from lambda_executor.contract.dag_manifest import OWN_FOLDER, DagManifest, StoredFile
from lambda_executor.contract.errors import DecodeError

_STATE = f"{OWN_FOLDER}/tree.json"

#: Nobody may write to a file, because other trees may have it too.
_READ_ONLY = 0o444

#: Fetches files into the folder, by their path below it.
Fetch = Callable[[Mapping[str, StoredFile], Path], None]
#: What reading a tree may raise that is not complete, or that a task has changed.
_UNREADABLE = (
    *(OSError, ValueError, TypeError, KeyError, AttributeError, RecursionError),
    DecodeError,
)


@dataclass(frozen=True, slots=True)
class Tree:
    """A complete tree.

    Attributes:
        etag: The ETag of the current manifest that the tree was made from; None: of a version's.
    """

    folder: Path
    manifest: DagManifest
    etag: str | None


def read(folder: Path) -> Tree | None:
    """Return the tree in a folder; None if there is none, or a file of it is missing or cut off."""
    try:
        state = json.loads((folder / _STATE).read_bytes())
        manifest = DagManifest.decode(state["manifest"].encode())
        etag = state["etag"]
        for path, file in manifest.files.items():
            if (folder / path).stat().st_size != file.size_bytes:
                return None
    except _UNREADABLE:
        return None
    return Tree(folder, manifest, etag)


def build(tree: Tree, others: Iterable[Tree], fetch: Fetch) -> None:
    """Make a tree; files that the others have are linked, and the rest is fetched.

    If `fetch` raises, nothing is left behind.
    """
    beside = tree.folder.parent / f".{tree.folder.name}.part"  # A dot: it is no version.
    _remove(beside)  # Of a process that was killed.
    beside.mkdir(parents=True)
    try:
        missing = {}
        lenders = list(others)
        for path, file in tree.manifest.files.items():
            (beside / path).parent.mkdir(parents=True, exist_ok=True)
            if not _link(path, file, lenders, beside):
                missing[path] = file
        fetch(missing, beside)
        for path in missing:
            (beside / path).chmod(_READ_ONLY)
        state = {"etag": tree.etag, "manifest": tree.manifest.encode().decode()}
        (beside / OWN_FOLDER).mkdir()
        (beside / _STATE).write_text(json.dumps(state))
        (beside / _STATE).chmod(_READ_ONLY)
        if tree.folder.exists():  # It is damaged.
            _remove(tree.folder)
        beside.rename(tree.folder)
    except BaseException:
        _remove(beside)
        raise


class Latest:
    """The newest tree, to which a symbolic link leads, and the one before it.

    The one before stays until the next switch, because somebody may still read it: Airflow's DAG
    processor lists files first and reads them later.
    """

    def __init__(self, base: Path) -> None:
        self._folder = base / "latest"
        self.link = self._folder / "current"

    def tree(self) -> Tree | None:
        """Return the newest tree; None: there is none."""
        return read(self.link.resolve()) if self.link.is_symlink() else None

    def replace(
        self, manifest: DagManifest, etag: str, others: Iterable[Tree], fetch: Fetch
    ) -> Tree:
        """Build a tree and switch to it; if that fails, the link leads where it did."""
        now = self.link.resolve() if self.link.is_symlink() else None
        self._keep(now)
        numbers = [0, *(_number(path) for path in self._trees())]
        folder = self._folder / f"{max(numbers) + 1}-{manifest.version}"
        tree = Tree(folder, manifest, etag)
        build(tree, others, fetch)
        fresh = self._folder / "next"
        fresh.unlink(missing_ok=True)
        fresh.symlink_to(folder.name)
        fresh.replace(self.link)
        return tree

    def _keep(self, kept: Path | None) -> None:
        """Remove all trees but this one, also what a process left that was killed."""
        for path in self._trees():
            if path != kept:
                _remove(path)

    def _trees(self) -> list[Path]:
        folder = self._folder.resolve()
        if not folder.is_dir():
            return []
        return [path for path in folder.iterdir() if path.is_dir() and not path.is_symlink()]


def _number(folder: Path) -> int:
    text = folder.name.partition("-")[0]
    return int(text) if text.isdecimal() else 0


def _link(path: str, file: StoredFile, lenders: Iterable[Tree], folder: Path) -> bool:
    """Link a file of another tree if one has it."""
    for lender in lenders:
        same = lender.manifest.files.get(path)
        if same is not None and same.sha256 == file.sha256:
            with suppress(OSError):  # A task may remove its DAG file; then it is fetched.
                os.link(lender.folder / path, folder / path)
                return True
    return False


def _remove(folder: Path) -> None:
    shutil.rmtree(folder, ignore_errors=True)
