"""The location of DAG files in S3, and their manifest."""

from __future__ import annotations

import itertools
import json
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from lambda_executor.contract.dag_manifest import (
    KEPT_DAYS,
    DagLocation,
    DagManifest,
    StoredFile,
    is_plain_path,
)
from lambda_executor.contract.errors import ConfigError, DecodeError
from lambda_executor.ops.dag_push import expired

FILE = StoredFile(etag='"e"', size_bytes=1, sha256="ab")


@pytest.mark.parametrize(
    ("uri", "bucket", "key"),
    [
        ("s3://bucket", "bucket", ""),
        ("s3://bucket/", "bucket", ""),
        (" s3://bucket/dags ", "bucket", "dags/"),
        ("s3://my.bucket/a/dags/", "my.bucket", "a/dags/"),
    ],
)
def test_a_location_is_a_folder(uri: str, bucket: str, key: str) -> None:
    """A prefix always gets a trailing slash, so that it does not match its neighbours."""
    location = DagLocation.parse(uri)
    assert (location.bucket, location.key) == (bucket, key)


@pytest.mark.parametrize(
    "uri", ["", "bucket/dags", "https://b/c", "s3://", "s3:///d", "s3://bb//d"]
)
def test_a_text_that_is_not_a_location_is_refused(uri: str) -> None:
    """The error shows the value and the allowed form."""
    with pytest.raises(ConfigError, match=r"is no place for DAG files: give the URI of a"):
        DagLocation.parse(uri)


def test_a_manifest_is_read_as_it_was_written() -> None:
    """Paths, ETags, sizes and versions survive encoding and decoding."""
    manifest = DagManifest({"a/b.py": FILE, "c.py": replace(FILE, version_id="v1")})
    assert DagManifest.decode(manifest.encode()) == manifest


def test_the_version_is_of_paths_and_contents_alone() -> None:
    """The same folder pushed twice, or into another bucket, has the same version."""
    one = DagManifest({"a.py": FILE, "b.py": FILE})
    again = DagManifest({"b.py": FILE, "a.py": replace(FILE, etag='"other"', version_id="v")})
    other = DagManifest({"a.py": FILE, "b.py": replace(FILE, sha256="cd")})
    assert one.version == again.version != other.version


@pytest.mark.parametrize(
    "raw",
    [
        b"",
        b"[]",
        b"\xff",
        b"[" * 100_000,
        b'{"manifest_version": 1}',
        b'{"manifest_version": 1, "files": {"a": {}}}',
        b'{"manifest_version": 1, "files": []}',
    ],
)
def test_other_content_is_not_a_manifest(raw: bytes) -> None:
    """The error says that the content is not a manifest."""
    with pytest.raises(DecodeError, match="is not a manifest"):
        DagManifest.decode(raw)


@pytest.mark.parametrize(
    ("field", "value"),
    [
        *itertools.product(
            ["etag", "sha256", "version_id"], [0, 1, 1.5, False, True, [], ["1"], {}, "ü"]
        ),
        *itertools.product(["size_bytes"], [-1, 1.5, False, True, [], {}, "1", None]),
    ],
)
def test_a_value_of_a_wrong_type_is_refused(field: str, value: Any) -> None:
    """Also one that is as false as no value: it would be taken for a bucket without versions."""
    content = json.loads(DagManifest({"a.py": FILE}).encode())
    content["files"]["a.py"][field] = value
    with pytest.raises(DecodeError, match="a value has a wrong type"):
        DagManifest.decode(json.dumps(content).encode())


def test_another_version_of_the_manifest_is_refused() -> None:
    """The reason names both versions and the fix."""
    told = json.loads(DagManifest({"a.py": FILE}).encode()) | {"manifest_version": 2}
    with pytest.raises(DecodeError, match=r"manifest_version 2, this release reads 1"):
        DagManifest.decode(json.dumps(told).encode())


@pytest.mark.parametrize(
    "path", ["", ".", "/a", "..", "../a", "a/../../b", "a//b", "./a", "a/", "a\\b", "a\0b"]
)
def test_a_path_that_leads_elsewhere_is_refused(path: str) -> None:
    """A manifest's paths must stay below the folder."""
    assert not is_plain_path(path)
    with pytest.raises(DecodeError, match="leads out of the folder"):
        DagManifest.decode(DagManifest({path: FILE}).encode())


@pytest.mark.parametrize("path", ["a.py", "a/b/c.py", ".airflowignore", "a..b/c"])
def test_a_path_below_the_folder_is_fine(path: str) -> None:
    """Folders and names with dots are kept."""
    assert is_plain_path(path)


def test_a_version_is_kept_for_a_time_after_the_one_that_replaced_it() -> None:
    """It is not its own age that counts: one that nobody replaced is never too old."""
    now = datetime(2026, 11, 29, tzinfo=UTC)
    pushed = {"a": KEPT_DAYS + 9, "b": KEPT_DAYS + 1, "c": KEPT_DAYS - 1}
    versions = {name: now - timedelta(days=days) for name, days in pushed.items()}
    assert expired(versions, now) == ["a"]
    assert expired({"a": versions["a"]}, now) == []


@pytest.mark.parametrize("version_id", [None, "v1"])
def test_a_manifest_keeps_versions_if_all_files_have_one(version_id: str | None) -> None:
    """One file that cannot be fetched any more makes the version useless."""
    files = {"a.py": replace(FILE, version_id="v1"), "b.py": replace(FILE, version_id=version_id)}
    assert DagManifest(files).keeps_versions is (version_id is not None)


def test_our_own_folder_is_no_place_for_dag_files() -> None:
    """A tree on the disk has its manifest there."""
    with pytest.raises(DecodeError, match="is no DAG file"):
        DagManifest.decode(DagManifest({".lambda-executor/tree.json": FILE}).encode())
