"""A bucket of the embedded AWS with DAG files, as `airflow lambda-executor dags push` leaves it."""

from __future__ import annotations

import hashlib
import json
import uuid

from lambda_executor.contract.dag_manifest import (
    DagLocation,
    DagManifest,
    StoredFile,
    bundle_config,
)
from tests.support.local_aws import Server as LocalAws

BUNDLES = "AIRFLOW__DAG_PROCESSOR__DAG_BUNDLE_CONFIG_LIST"


class Bucket:
    """A bucket of the embedded AWS."""

    def __init__(self, local_aws: LocalAws, *, versioned: bool = False) -> None:
        self.name = f"dags-{uuid.uuid4().hex[:12]}"
        self.uri = f"s3://{self.name}/dags/"
        self._s3 = local_aws.client("s3")
        self._s3.create_bucket(Bucket=self.name)
        if versioned:
            self._s3.put_bucket_versioning(
                Bucket=self.name, VersioningConfiguration={"Status": "Enabled"}
            )

    @property
    def variables(self) -> dict[str, str]:
        """The variable with which function and DAG processor read the DAG files."""
        return {BUNDLES: json.dumps([bundle_config(self.uri)])}

    def put(self, contents: dict[str, str], prefix: str = "dags/") -> dict[str, StoredFile]:
        """Put files; returns their entries for the manifest."""
        stored = {}
        for path, body in contents.items():
            answer = self._s3.put_object(Bucket=self.name, Key=prefix + path, Body=body.encode())
            sha256 = hashlib.sha256(body.encode()).hexdigest()
            stored[path] = StoredFile(answer["ETag"], len(body), sha256, answer.get("VersionId"))
        return stored

    def push(self, contents: dict[str, str]) -> str:
        """Put files and the manifests; returns the version."""
        manifest, location = DagManifest(self.put(contents)), DagLocation.parse(self.uri)
        for key in (location.version_key(manifest.version), location.manifest_key):
            self._s3.put_object(Bucket=self.name, Key=key, Body=manifest.encode())
        return manifest.version

    def empty(self) -> None:
        """Delete every version of every object."""
        versions = self._s3.list_object_versions(Bucket=self.name)["Versions"]
        for each in versions:
            self._s3.delete_object(Bucket=self.name, Key=each["Key"], VersionId=each["VersionId"])
