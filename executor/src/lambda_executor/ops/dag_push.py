"""Makes a folder in S3 equal to a local one, so that no reader ever sees half of a version.

It uploads the files, then the manifest that names them, then deletes the files that only the
previous manifest named, and the manifests of versions that are too old to be run.
"""

from __future__ import annotations

import hashlib
import itertools
import os
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from fnmatch import fnmatch
from pathlib import Path, PurePosixPath

from lambda_executor.aws import S3DagFolder
from lambda_executor.contract.dag_manifest import (
    KEPT_DAYS,
    DagManifest,
    StoredFile,
    is_left_out,
    is_plain_path,
)
from lambda_executor.contract.errors import ConfigError

#: Most files that are uploaded or deleted at the same time.
CONNECTIONS = 16


@dataclass(frozen=True, slots=True)
class Plan:
    """The changes that a push has to make."""

    upload: Sequence[str]  # Files that are missing in S3 or differ there.
    keep: Mapping[str, StoredFile]  # Files that are the same in S3.
    delete: Sequence[str]  # Files of the last push that are gone from the local folder.
    foreign: Sequence[str]  # Objects that no push uploaded.
    before: DagManifest | None  # The version that S3 has; None: nobody has pushed.
    expired: Sequence[str]  # Versions that are too old to be run.


def read(folder: Path, excluded: Sequence[str] = ()) -> dict[str, Path]:
    """Return the files of a DAG folder, by their path below it.

    What no task needs is left out, and names or paths that match a pattern in `excluded`.

    Raises:
        ConfigError: It is not a folder, or has no files, or one that cannot be uploaded.
    """
    if not folder.is_dir():
        raise ConfigError(f"{folder} is not a folder: name the folder that holds the DAG files")
    files = {}
    for parent, folders, names in os.walk(folder):
        base = Path(parent)
        folders[:] = [name for name in folders if not _stays_here(base / name, folder, excluded)]
        for name in folders:
            if (base / name).is_symlink():
                raise ConfigError(
                    f"{base / name} is a link to a folder: put the files there, or --exclude it"
                )
        for name in names:
            if not _stays_here(base / name, folder, excluded):
                files[_relative(base / name, folder)] = base / name
    for path in files:
        if not is_plain_path(path):
            raise ConfigError(f"{path!r} cannot be a key in S3: rename or --exclude it")
    if not files:
        raise ConfigError(f"{folder} has no files to upload: a push would leave no DAGs at all")
    return files


def plan(files: Mapping[str, Path], store: S3DagFolder) -> Plan:
    """Compare a folder with the objects in S3."""
    listed, manifest = store.listed(), store.manifest()
    etags = listed.etags
    known = manifest.files if manifest is not None else {}
    keep = {
        path: known[path]
        for path, file in files.items()
        if path in known
        and etags.get(path) == known[path].etag
        and known[path].sha256 == hashlib.sha256(file.read_bytes()).hexdigest()
    }
    return Plan(
        upload=sorted(set(files) - set(keep)),
        keep=keep,
        delete=sorted(set(known) - set(files)),
        foreign=sorted(set(etags) - set(known) - set(files)),
        before=manifest,
        expired=expired(listed.versions, datetime.now(UTC)),
    )


def expired(versions: Mapping[str, datetime], now: datetime) -> list[str]:
    """Return the versions that another one replaced more than `KEPT_DAYS` ago.

    Args:
        versions: When each version was pushed the last time.
        now: The time.
    """
    newest_first = sorted(versions, key=lambda version: versions[version], reverse=True)
    return [
        version
        for replacement, version in itertools.pairwise(newest_first)
        if now - versions[replacement] > timedelta(days=KEPT_DAYS)
    ]


def push(
    files: Mapping[str, Path], plan: Plan, store: S3DagFolder, say: Callable[[str], None]
) -> DagManifest:
    """Carry out a plan, and say which files are done; returns the new version.

    Raises:
        AwsError: A file could not be uploaded or deleted.
    """

    def upload(path: str) -> StoredFile:
        return store.put(path, files[path].read_bytes())

    stored = dict(plan.keep)
    with ThreadPoolExecutor(CONNECTIONS) as pool:
        for path, file in zip(plan.upload, pool.map(upload, plan.upload), strict=True):
            stored[path] = file
            say(f"uploaded {path}")
        # What was uploaded before the bucket kept versions has none to be fetched by.
        again = [path for path, file in stored.items() if not file.version_id]
        if len(again) < len(stored):
            stored.update(zip(again, pool.map(upload, again), strict=True))
        manifest = DagManifest(stored)
        store.put_manifest(manifest)
        for path, _ in zip(plan.delete, pool.map(store.delete, plan.delete), strict=True):
            say(f"deleted {path}")
        # Neither is what was pushed again old, nor what is replaced only now.
        in_use = {each.version for each in (plan.before, manifest) if each}
        list(pool.map(store.delete_version, set(plan.expired) - in_use))
    return manifest


def _stays_here(path: Path, folder: Path, patterns: Sequence[str]) -> bool:
    relative = _relative(path, folder)
    return is_left_out(path) or any(
        fnmatch(path.name, pattern) or fnmatch(relative, pattern) for pattern in patterns
    )


def _relative(path: Path, folder: Path) -> str:
    return str(PurePosixPath(path.relative_to(folder)))
