"""The folder of DAG files in S3 that `dags push` writes."""

from __future__ import annotations

import hashlib
from contextlib import closing
from typing import TYPE_CHECKING

from lambda_executor.aws.clients import Clients
from lambda_executor.contract.dag_manifest import DagLocation, DagManifest, StoredFile
from lambda_executor.contract.errors import AwsError, RejectedError

if TYPE_CHECKING:
    from mypy_boto3_s3.type_defs import PutObjectOutputTypeDef


class S3DagFolder:
    """One prefix of one bucket. Every method raises `AwsError` when the call to AWS fails."""

    def __init__(self, clients: Clients, location: DagLocation) -> None:
        self._clients = clients
        self._location = location

    def listed(self) -> dict[str, str]:
        """Return the ETag of every object but the manifest, by its path below the prefix."""
        with self._clients.errors():
            pages = self._clients.s3.get_paginator("list_objects_v2").paginate(
                Bucket=self._location.bucket, Prefix=self._location.key
            )
            return {
                each["Key"].removeprefix(self._location.key): each["ETag"]
                for page in pages
                for each in page.get("Contents", ())
                if not each["Key"].endswith("/") and each["Key"] != self._location.manifest_key
            }

    def manifest(self) -> DagManifest | None:
        """Return the manifest of the last push; None: nobody has pushed here."""
        try:
            with self._clients.errors():
                answer = self._clients.s3.get_object(
                    Bucket=self._location.bucket, Key=self._location.manifest_key
                )
                with closing(answer["Body"]) as body:
                    raw = body.read()
        except RejectedError as e:
            if e.code == "NoSuchKey":
                return None
            raise
        return DagManifest.decode(raw)

    def put(self, path: str, content: bytes) -> StoredFile:
        """Upload one file."""
        answer = self._put(self._location.key + path, content)
        return StoredFile(
            etag=answer["ETag"],
            size_bytes=len(content),
            sha256=hashlib.sha256(content).hexdigest(),
            version_id=answer.get("VersionId"),
        )

    def put_manifest(self, manifest: DagManifest) -> None:
        """Upload the manifest; from then on functions run this version."""
        self._put(self._location.manifest_key, manifest.encode())

    def delete(self, path: str) -> None:
        """Delete one file."""
        with self._clients.errors():
            self._clients.s3.delete_object(
                Bucket=self._location.bucket, Key=self._location.key + path
            )

    def _put(self, key: str, content: bytes) -> PutObjectOutputTypeDef:
        bucket = self._location.bucket
        try:
            with self._clients.errors():
                return self._clients.s3.put_object(Bucket=bucket, Key=key, Body=content)
        except AwsError as e:
            raise e.about(f"s3://{bucket}/{key} was not uploaded") from e
