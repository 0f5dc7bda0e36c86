"""DAG files in S3, below a prefix or in one archive: the check for changes, and the fetch."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any, Protocol

from botocore.exceptions import ClientError

from lambda_executor.contract.dag_manifest import (
    MANIFEST_NAME,
    DagLocation,
    DagManifest,
    is_plain_path,
)
from lambda_executor.contract.errors import LambdaExecutorError
from lambda_image.aws_calls import error_code, read_object
from lambda_image.dags import archives

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client
    from mypy_boto3_s3.type_defs import GetObjectOutputTypeDef

#: Objects fetched in parallel. The threads end with the fetch: no task is forked beside them.
CONNECTIONS = 16


class DagSourceError(LambdaExecutorError):
    """The DAG files could not be fetched; the message is the reason."""


class ChangedMeanwhileError(DagSourceError):
    """An object changed between the check and the fetch: somebody is uploading right now."""


@dataclass(frozen=True, slots=True)
class _Object:
    """One version of an object."""

    etag: str
    size_bytes: int
    version_id: str | None = None


@dataclass(frozen=True, slots=True)
class Fetch:
    """One state of the files, ready to be fetched.

    `into` fills an empty folder, and may link unchanged files of the previous tree. It raises
    ChangedMeanwhileError if an object has changed since the check.
    """

    files: Mapping[str, _Object]  # By the path below the location; an archive's path is empty.
    manifest_etag: str | None  # Of the manifest that names the files.
    into: Callable[[Path, Path | None], None]


class Remote(Protocol):
    """A prefix or an archive in S3."""

    def changed_since(self, seen: Fetch | None) -> Fetch | None:
        """The current state; None if it is still the one that was seen."""


@dataclass(frozen=True, slots=True)
class S3Prefix:
    """A prefix, with or without a manifest."""

    client: S3Client
    location: DagLocation

    def changed_since(self, seen: Fetch | None) -> Fetch | None:
        """Ask for the manifest, and list the objects only if there is none."""
        current = self._current(seen)
        if current is None:
            return None
        files, etag = current
        known = seen.files if seen is not None else {}

        def fetch_into(tree: Path, old: Path | None) -> None:
            changed = []
            for path, file in files.items():
                (tree / path).parent.mkdir(parents=True, exist_ok=True)
                if old is None or known.get(path) != file:
                    changed.append(path)
                else:
                    os.link(old / path, tree / path)
            with ThreadPoolExecutor(CONNECTIONS) as pool:
                list(pool.map(lambda path: self._fetch(path, files[path], tree / path), changed))

        return Fetch(files, etag, fetch_into)

    def _fetch(self, path: str, wanted: _Object, target: Path) -> None:
        with target.open("wb") as file:
            _download(self.client, self.location, path, wanted, file)
        target.chmod(0o444)  # A task that writes to its DAG file would change it for later tasks.

    def _current(self, seen: Fetch | None) -> tuple[dict[str, _Object], str | None] | None:
        """The files and the manifest's ETag; None if nothing has changed."""
        if seen is not None and seen.manifest_etag is None:
            # There was no manifest. A list would show a new one, and saves the call for it.
            files = self._listed()
            if MANIFEST_NAME not in files:
                return None if files == seen.files else (files, None)
        try:
            return self._manifest(seen.manifest_etag if seen is not None else None)
        except ClientError as e:
            if error_code(e) != "NoSuchKey":
                raise
            return self._listed(), None

    def _manifest(self, seen_etag: str | None) -> tuple[dict[str, _Object], str] | None:
        """The manifest's files and its ETag; None if that is the one that was seen."""
        condition: dict[str, Any] = {} if seen_etag is None else {"IfNoneMatch": seen_etag}
        try:
            answer = self.client.get_object(
                Bucket=self.location.bucket, Key=self.location.manifest_key, **condition
            )
        except ClientError as e:
            if error_code(e) in ("304", "NotModified"):
                return None
            raise
        with closing(answer["Body"]) as body:
            files = DagManifest.decode(body.read()).files
        return {
            path: _Object(file.etag, file.size_bytes, file.version_id)
            for path, file in files.items()
        }, answer["ETag"]

    def _listed(self) -> dict[str, _Object]:
        files = {}
        pages = self.client.get_paginator("list_objects_v2").paginate(
            Bucket=self.location.bucket, Prefix=self.location.key
        )
        for page in pages:
            for found in page.get("Contents", ()):
                path = found["Key"].removeprefix(self.location.key)
                if not path or path.endswith("/"):
                    continue  # The S3 console makes such objects for empty folders.
                if not is_plain_path(path):
                    raise DagSourceError(
                        f"the object {found['Key']!r} cannot be a file below the DAG folder: "
                        "delete or rename it"
                    )
                files[path] = _Object(found["ETag"], found["Size"])
        if not files:
            raise DagSourceError("there is nothing: `airflow lambda-executor dags push` uploads")
        return files


@dataclass(frozen=True, slots=True)
class S3Archive:
    """One object that holds the whole DAG folder."""

    client: S3Client
    location: DagLocation

    def changed_since(self, seen: Fetch | None) -> Fetch | None:
        """Ask for the archive's current version."""
        answer = self.client.head_object(Bucket=self.location.bucket, Key=self.location.key)
        found = _Object(answer["ETag"], answer["ContentLength"], answer.get("VersionId"))
        if seen is not None and seen.files == {"": found}:
            return None

        def unpack_into(tree: Path, _old: Path | None) -> None:
            with tempfile.TemporaryFile(dir=tree.parent) as file:
                _download(self.client, self.location, "", found, file)
                archives.unpack(file, tree)

        return Fetch({"": found}, None, unpack_into)


def _download(
    client: S3Client, location: DagLocation, path: str, wanted: _Object, file: IO[bytes]
) -> None:
    """Fetch one object whole, in the wanted version only."""
    key = location.key + path
    version: dict[str, Any] = {"VersionId": wanted.version_id} if wanted.version_id else {}

    def take(answer: GetObjectOutputTypeDef) -> None:
        if answer["ETag"] != wanted.etag:
            raise ChangedMeanwhileError(f"{key} has other content")
        file.seek(0)
        file.truncate()
        shutil.copyfileobj(answer["Body"], file)

    try:
        read_object(client, take, Bucket=location.bucket, Key=key, **version)
    except ClientError as e:
        if error_code(e) in ("NoSuchKey", "NoSuchVersion"):
            raise ChangedMeanwhileError(f"{key} is gone") from e
        raise
