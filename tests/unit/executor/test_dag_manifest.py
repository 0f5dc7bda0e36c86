"""The location of DAG files in S3, and their manifest."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest

from lambda_executor.contract.dag_manifest import (
    DagLocation,
    DagManifest,
    StoredFile,
    is_plain_path,
)
from lambda_executor.contract.errors import ConfigError, DecodeError

FILE = StoredFile(etag='"e"', size_bytes=1, sha256="ab")


@pytest.mark.parametrize(
    ("uri", "bucket", "key", "is_archive"),
    [
        ("s3://bucket", "bucket", "", False),
        ("s3://bucket/", "bucket", "", False),
        ("s3://bucket/dags", "bucket", "dags/", False),
        ("s3://my.bucket/a/dags/", "my.bucket", "a/dags/", False),
        ("s3://bucket/dags.zip", "bucket", "dags.zip", True),
        ("s3://bucket/a/dags.tar.gz", "bucket", "a/dags.tar.gz", True),
        (" s3://bucket/dags.tgz ", "bucket", "dags.tgz", True),
    ],
)
def test_a_location_is_a_folder_or_an_archive(
    uri: str, bucket: str, key: str, is_archive: bool
) -> None:
    """A prefix always gets a trailing slash, so that it does not match its neighbours."""
    location = DagLocation.parse(uri)
    assert (location.bucket, location.key, location.is_archive) == (bucket, key, is_archive)


@pytest.mark.parametrize(
    "uri", ["", "bucket/dags", "https://b/c", "s3://", "s3:///d", "s3://bb//d"]
)
def test_a_text_that_is_not_a_location_is_refused(uri: str) -> None:
    """The error shows the value and the allowed forms."""
    with pytest.raises(ConfigError, match=r"is no place for DAG files: give s3://bucket/prefix/"):
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
