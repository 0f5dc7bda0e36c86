"""The folder of DAG files in S3: `dags push` writes it, the DAG bundle reads it."""

from __future__ import annotations

import hashlib
import shutil
from contextlib import closing
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from botocore.exceptions import HTTPClientError, IncompleteReadError

from lambda_executor.aws.clients import Clients
from lambda_executor.contract.dag_manifest import (
    DagLocation,
    DagManifest,
    StoredFile,
    is_own,
)
from lambda_executor.contract.errors import AwsError, LambdaExecutorError, RejectedError

if TYPE_CHECKING:
    from mypy_boto3_s3.type_defs import PutObjectOutputTypeDef

#: How often a file is read. botocore repeats a request, but not the reading of its body.
_ATTEMPTS = 3

#: What S3 calls the version of an object that it keeps no versions of.
#: https://docs.aws.amazon.com/AmazonS3/latest/userguide/AddingObjectstoVersionSuspendedBuckets.html
_NO_VERSION = "null"


class ChangedError(LambdaExecutorError):
    """S3 does not have a file as the manifest describes it; the message says which."""


@dataclass(frozen=True, slots=True)
class StoredManifest:
    """The current manifest, and the ETag by which S3 recognizes it."""

    manifest: DagManifest
    etag: str


@dataclass(frozen=True, slots=True)
class Listed:
    """What is below the prefix.

    Attributes:
        etags: The ETag of every object but the manifests, by its path.
        versions: When the manifest of each version was stored the last time.
    """

    etags: dict[str, str]
    versions: dict[str, datetime]


class S3DagFolder:
    """One prefix of one bucket. Every method raises `AwsError` when the call to AWS fails."""

    def __init__(self, clients: Clients, location: DagLocation) -> None:
        self._clients = clients
        self._location = location

    def listed(self) -> Listed:
        """List the objects."""
        place, found = self._location, Listed({}, {})
        with self._clients.errors():
            pages = self._clients.s3.get_paginator("list_objects_v2").paginate(
                Bucket=place.bucket, Prefix=place.key
            )
            for each in (each for page in pages for each in page.get("Contents", ())):
                key = each["Key"]
                if key.startswith(place.versions_prefix):
                    name = key.removeprefix(place.versions_prefix).removesuffix(".json")
                    found.versions[name] = each["LastModified"]
                elif not key.endswith("/") and not is_own(path := key.removeprefix(place.key)):
                    found.etags[path] = each["ETag"]
        return found

    def current(self, seen_etag: str | None = None) -> StoredManifest | None:
        """Return the current manifest; None: it is still the one that was seen.

        Raises:
            DecodeError: It is not a manifest.
        """
        condition: dict[str, Any] = {} if seen_etag is None else {"IfNoneMatch": seen_etag}
        try:
            raw, etag = self._read(self._location.manifest_key, **condition)
        except RejectedError as e:
            if e.code in ("304", "NotModified"):
                return None
            raise
        return StoredManifest(DagManifest.decode(raw), etag)

    def manifest(self) -> DagManifest | None:
        """Return the current manifest; None: nobody has pushed here."""
        try:
            stored = self.current()
        except RejectedError as e:
            if e.code == "NoSuchKey":
                return None
            raise
        return stored.manifest if stored else None

    def version(self, version: str) -> DagManifest:
        """Return the manifest of one version.

        Raises:
            DecodeError: It is not a manifest.
        """
        raw, _ = self._read(self._location.version_key(version))
        return DagManifest.decode(raw)

    def fetch(self, path: str, stored: StoredFile, target: Path) -> None:
        """Write one file, as it is stored, to the disk.

        Raises:
            ChangedError: S3 does not have it any more.
        """
        key = self._location.key + path
        version: dict[str, Any] = {"VersionId": stored.version_id} if stored.version_id else {}
        try:
            with self._clients.errors():
                for attempts_left in reversed(range(_ATTEMPTS)):
                    try:
                        answer = self._clients.s3.get_object(
                            Bucket=self._location.bucket, Key=key, **version
                        )
                        if answer["ETag"] != stored.etag:
                            raise ChangedError(f"{key} has other content")
                        with closing(answer["Body"]) as body, target.open("wb") as file:
                            shutil.copyfileobj(body, file)
                        break
                    except (HTTPClientError, IncompleteReadError):
                        if not attempts_left:
                            raise
        except RejectedError as e:
            if e.code in ("NoSuchKey", "NoSuchVersion"):
                raise ChangedError(f"{key} is gone") from e
            raise

    def put(self, path: str, content: bytes) -> StoredFile:
        """Upload one file."""
        answer = self._put(self._location.key + path, content)
        version_id = answer.get("VersionId")
        return StoredFile(
            etag=answer["ETag"],
            size_bytes=len(content),
            sha256=hashlib.sha256(content).hexdigest(),
            version_id=None if version_id == _NO_VERSION else version_id,
        )

    def put_manifest(self, manifest: DagManifest) -> None:
        """Upload the manifest of a version, then the current one: readers now see the version."""
        self._put(self._location.version_key(manifest.version), manifest.encode())
        self._put(self._location.manifest_key, manifest.encode())

    def delete(self, path: str) -> None:
        """Delete one file."""
        self._delete(self._location.key + path)

    def delete_version(self, version: str) -> None:
        """Delete the manifest of one version: no run can fetch the version any more."""
        self._delete(self._location.version_key(version))

    def _delete(self, key: str) -> None:
        with self._clients.errors():
            self._clients.s3.delete_object(Bucket=self._location.bucket, Key=key)

    def _read(self, key: str, **condition: Any) -> tuple[bytes, str]:  # noqa: ANN401 - boto3's
        with self._clients.errors():
            answer = self._clients.s3.get_object(Bucket=self._location.bucket, Key=key, **condition)
            with closing(answer["Body"]) as body:
                return body.read(), answer["ETag"]

    def _put(self, key: str, content: bytes) -> PutObjectOutputTypeDef:
        bucket = self._location.bucket
        try:
            with self._clients.errors():
                return self._clients.s3.put_object(Bucket=bucket, Key=key, Body=content)
        except AwsError as e:
            raise e.about(f"s3://{bucket}/{key} was not uploaded") from e
