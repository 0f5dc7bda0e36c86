"""Makes a folder in S3 the same as one here, so that no reader ever sees half of it.

Files first, then the manifest that names them, then the deletion of what the previous manifest
named and this one does not: what somebody else put there is left alone. It must not know AWS.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from fnmatch import fnmatch
from pathlib import Path, PurePosixPath
from typing import Protocol

from lambda_executor.contract.dag_manifest import (
    MANIFEST_NAME,
    DagManifest,
    StoredFile,
    is_plain_path,
)
from lambda_executor.contract.errors import ConfigError

#: Never uploaded: what Python, version control and operating systems leave in folders.
EXCLUDED = ("__pycache__", "*.pyc", ".git", ".venv", ".DS_Store", MANIFEST_NAME)

#: How many files are uploaded or deleted at the same time.
CONNECTIONS = 16


class DagStore(Protocol):
    """A folder in S3; `aws.S3DagFolder`. Called from many threads at once.

    Every method raises an AwsError when AWS does not do it.
    """

    def listed(self) -> Mapping[str, str]:
        """Path to ETag of everything there, but not the manifest."""

    def manifest(self) -> DagManifest | None:
        """What the last push wrote."""

    def put(self, path: str, content: bytes) -> StoredFile:
        """Put one file."""

    def put_manifest(self, manifest: DagManifest) -> None:
        """Put the manifest."""

    def delete(self, path: str) -> None:
        """Delete one file."""


@dataclass(frozen=True, slots=True)
class Plan:
    """What a push has to do.

    Attributes:
        upload: Files that S3 does not have in this state.
        keep: Files that it has.
        delete: Files that the last push put there and that are gone here.
        foreign: What is there, and was not put there by a push.
    """

    upload: Sequence[str]
    keep: Mapping[str, StoredFile]
    delete: Sequence[str]
    foreign: Sequence[str]


def read(folder: Path, excluded: Sequence[str] = ()) -> dict[str, Path]:
    """The files of a folder, by their path below it.

    Args:
        folder: The DAG folder.
        excluded: Patterns of names or paths that are left out, besides `EXCLUDED`.

    Raises:
        ConfigError: It is no folder, has no files, or has something that cannot be uploaded.
    """
    if not folder.is_dir():
        raise ConfigError(f"{folder} is not a folder: name the folder that holds the DAG files")
    patterns = (*EXCLUDED, *excluded)
    files = {}
    for parent, folders, names in os.walk(folder):
        base = Path(parent)
        folders[:] = [name for name in folders if not _matches(base / name, folder, patterns)]
        for name in folders:
            if (base / name).is_symlink():
                raise ConfigError(
                    f"{base / name} is a link to a folder: put the files there, or --exclude it"
                )
        for name in names:
            if not _matches(base / name, folder, patterns):
                files[_relative(base / name, folder)] = base / name
    for path in files:
        if not is_plain_path(path):
            raise ConfigError(f"{path!r} cannot be a key in S3: rename or --exclude it")
    if not files:
        raise ConfigError(f"{folder} has no files to upload: a push would leave no DAGs at all")
    return files


def plan(files: Mapping[str, Path], store: DagStore) -> Plan:
    """Compare a folder with what is in S3."""
    listed, manifest = store.listed(), store.manifest()
    known = manifest.files if manifest is not None else {}
    keep = {
        path: known[path]
        for path, file in files.items()
        if path in known
        and listed.get(path) == known[path].etag
        and known[path].sha256 == hashlib.sha256(file.read_bytes()).hexdigest()
    }
    return Plan(
        upload=sorted(set(files) - set(keep)),
        keep=keep,
        delete=sorted(set(known) - set(files)),
        foreign=sorted(set(listed) - set(known) - set(files)),
    )


def push(
    files: Mapping[str, Path], plan: Plan, store: DagStore, say: Callable[[str], None]
) -> DagManifest:
    """Do it.

    Args:
        files: What `read` found.
        plan: What is to be done.
        store: Where.
        say: Told of each file when it is done.
    """

    def upload(path: str) -> StoredFile:
        return store.put(path, files[path].read_bytes())

    stored = dict(plan.keep)
    with ThreadPoolExecutor(CONNECTIONS) as pool:
        for path, file in zip(plan.upload, pool.map(upload, plan.upload), strict=True):
            stored[path] = file
            say(f"uploaded {path}")
        manifest = DagManifest(stored)
        store.put_manifest(manifest)
        for path, _ in zip(plan.delete, pool.map(store.delete, plan.delete), strict=True):
            say(f"deleted {path}")
    return manifest


def _matches(path: Path, folder: Path, patterns: Sequence[str]) -> bool:
    relative = _relative(path, folder)
    return any(fnmatch(path.name, pattern) or fnmatch(relative, pattern) for pattern in patterns)


def _relative(path: Path, folder: Path) -> str:
    return str(PurePosixPath(path.relative_to(folder)))
