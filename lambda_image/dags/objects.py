"""DAG files as S3 has them: one cheap look whether they changed, and the fetch of what did.

A prefix with a manifest, a prefix without one and an archive are three kinds of the same thing. It
must not know where on disk a tree belongs, nor what a workload is.
"""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Mapping
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
from lambda_image.dags.archives import ArchiveError

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client
    from mypy_boto3_s3.type_defs import GetObjectOutputTypeDef

#: Objects fetched side by side. The threads end with the fetch: none is there when a task forks.
CONNECTIONS = 16


class DagSourceError(LambdaExecutorError):
    """The DAG files cannot be had; the message says why."""


class ChangedMeanwhileError(DagSourceError):
    """What was to be fetched is not there any more: somebody puts other files there right now."""


class Fetch(Protocol):
    """One state of the files, ready to be fetched."""

    def into(self, tree: Path, old: Path | None) -> None:
        """Fill an empty folder; the tree of the previous state may lend its files.

        Raises:
            ChangedMeanwhileError: An object is not the one that was seen.
            DagSourceError: What is there is not usable.
        """


class Remote(Protocol):
    """A place in S3."""

    def changed_since(self, seen: Fetch | None) -> Fetch | None:
        """The state of now; None: it is the one that was seen before."""


@dataclass(frozen=True, slots=True)
class _Object:
    """One file, as far as the fetch needs to know it."""

    etag: str
    size_bytes: int
    version_id: str | None = None


@dataclass(frozen=True, slots=True)
class FolderFetch:
    """The files below a prefix.

    Attributes:
        client: Where they are asked for.
        files: Path below the prefix to object.
        manifest_etag: Of the manifest that names them; None: they were listed.
        known: The previous state's files, which need not be fetched again.
    """

    client: S3Client
    location: DagLocation
    files: Mapping[str, _Object]
    manifest_etag: str | None
    known: Mapping[str, _Object]

    def into(self, tree: Path, old: Path | None) -> None:
        """Link what has not changed, and fetch the rest side by side."""
        changed = []
        for path, file in self.files.items():
            (tree / path).parent.mkdir(parents=True, exist_ok=True)
            if old is None or self.known.get(path) != file:
                changed.append(path)
            else:
                os.link(old / path, tree / path)
        with ThreadPoolExecutor(CONNECTIONS) as pool:
            for _ in pool.map(lambda path: self._fetch(path, tree / path), changed):
                pass

    def _fetch(self, path: str, target: Path) -> None:
        wanted = self.files[path]
        with target.open("wb") as file:
            _download(self.client, self.location.bucket, self.location.key + path, wanted, file)
        # A task that writes to its own DAG file would change it for later tasks too.
        target.chmod(0o444)


@dataclass(frozen=True, slots=True)
class Folder:
    """A prefix, with or without a manifest."""

    client: S3Client
    location: DagLocation

    def changed_since(self, seen: Fetch | None) -> FolderFetch | None:
        """Ask for the manifest, and only where there is none for a list."""
        known = seen if isinstance(seen, FolderFetch) else None
        if known is not None and known.manifest_etag is None:
            # It had no manifest. The list shows one too, so that nothing else has to be asked for.
            files = self._listed()
            if MANIFEST_NAME not in files:
                return None if files == known.files else self._fetch(files, None, known)
        try:
            found = self._manifest(known.manifest_etag if known is not None else None)
        except ClientError as e:
            if error_code(e) != "NoSuchKey":
                raise
            return self._fetch(self._listed(), None, known)
        if found is None:
            return None
        manifest, etag = found
        files = {
            path: _Object(file.etag, file.size_bytes, file.version_id)
            for path, file in manifest.files.items()
        }
        return self._fetch(files, etag, known)

    def _manifest(self, seen_etag: str | None) -> tuple[DagManifest, str] | None:
        """The manifest, unless it is the one that was seen."""
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
            return DagManifest.decode(body.read()), answer["ETag"]

    def _fetch(
        self, files: Mapping[str, _Object], etag: str | None, known: FolderFetch | None
    ) -> FolderFetch:
        return FolderFetch(
            self.client, self.location, files, etag, known.files if known is not None else {}
        )

    def _listed(self) -> dict[str, _Object]:
        files = {}
        pages = self.client.get_paginator("list_objects_v2").paginate(
            Bucket=self.location.bucket, Prefix=self.location.key
        )
        for page in pages:
            for found in page.get("Contents", ()):
                path = found["Key"].removeprefix(self.location.key)
                if not path or path.endswith("/"):
                    continue  # What the S3 console makes of an empty folder.
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
class ArchiveFetch:
    """One state of an archive of the whole folder."""

    client: S3Client
    location: DagLocation
    found: _Object

    def into(self, tree: Path, old: Path | None) -> None:
        """Fetch and unpack it; nothing of the previous tree is used."""
        del old
        with tempfile.TemporaryFile(dir=tree.parent) as file:
            _download(self.client, self.location.bucket, self.location.key, self.found, file)
            try:
                archives.unpack(file, tree)
            except ArchiveError as e:
                raise DagSourceError(str(e)) from e


@dataclass(frozen=True, slots=True)
class Archive:
    """One object with the whole folder."""

    client: S3Client
    location: DagLocation

    def changed_since(self, seen: Fetch | None) -> ArchiveFetch | None:
        """Ask which one it is now."""
        answer = self.client.head_object(Bucket=self.location.bucket, Key=self.location.key)
        found = _Object(answer["ETag"], answer["ContentLength"], answer.get("VersionId"))
        if isinstance(seen, ArchiveFetch) and seen.found == found:
            return None
        return ArchiveFetch(self.client, self.location, found)


def _download(client: S3Client, bucket: str, key: str, wanted: _Object, file: IO[bytes]) -> None:
    """Fetch one object whole, and only if it is the one that was seen."""
    version: dict[str, Any] = {"VersionId": wanted.version_id} if wanted.version_id else {}

    def take(answer: GetObjectOutputTypeDef) -> None:
        if answer["ETag"] != wanted.etag:
            raise ChangedMeanwhileError(f"{key} has other content")
        file.seek(0)
        file.truncate()
        shutil.copyfileobj(answer["Body"], file)

    try:
        read_object(client, take, Bucket=bucket, Key=key, **version)
    except ClientError as e:
        if error_code(e) in ("NoSuchKey", "NoSuchVersion"):
            raise ChangedMeanwhileError(f"{key} is gone") from e
        raise
