"""Manifests of DAG files that would lead a reader out of its folder, or fill it, or confuse it.

Whoever may write to the DAG bucket controls DAG code anyhow. But the DAG processor and `dags push`
read the same manifest, and a broken one must stop neither.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from airflow.dag_processing.bundles import base
from moto import mock_aws

from lambda_executor import aws
from lambda_executor.bundles import S3ManifestBundle
from lambda_executor.bundles.s3_manifest import DagFilesError
from lambda_executor.contract.dag_manifest import MANIFEST_NAME, DagLocation
from lambda_executor.contract.errors import LambdaExecutorError
from lambda_executor.ops import dag_push

BUCKET = "bucket"
URI = f"s3://{BUCKET}/dags/"
BODY = b"content"
ENTRY = {
    "etag": f'"{hashlib.md5(BODY).hexdigest()}"',
    "size_bytes": len(BODY),
    "sha256": hashlib.sha256(BODY).hexdigest(),
}


def naming(*paths: str) -> dict[str, Any]:
    """A manifest with these paths."""
    return {"manifest_version": 1, "files": dict.fromkeys(paths, ENTRY)}


def describing(**fields: Any) -> dict[str, Any]:
    """A manifest of one file that is described otherwise; None leaves a field out."""
    entry = {name: value for name, value in (ENTRY | fields).items() if value is not None}
    return {"manifest_version": 1, "files": {"a.py": entry}}


#: By what each one attempts.
REFUSED: dict[str, Any] = {
    "the parent": naming("../evil.py"),
    "the parent, from below": naming("a/../../evil.py"),
    "the parent, at the end": naming("a/.."),
    "the parent itself": naming(".."),
    "the folder itself": naming("."),
    "no name": naming(""),
    "an absolute path": naming("/tmp/evil.py"),
    "a network path": naming("//host/evil.py"),
    "another spelling": naming("./a.py"),
    "another spelling, within": naming("a/./b.py"),
    "two slashes": naming("a//b.py"),
    "a folder": naming("a/"),
    "Windows's parent": naming("..\\evil.py"),
    "Windows's drive": naming("C:\\evil.py"),
    "Windows's share": naming("\\\\host\\share\\evil.py"),
    "a null byte": naming("a.py\0.txt"),
    "its own manifest": naming(MANIFEST_NAME),
    "its own state": naming(".lambda-executor/tree.json"),
    "its own folder": naming(".lambda-executor"),
    "a file that is a folder": naming("a.py", "a.py/b.py"),
    "a folder that is a file": naming("a.py/b.py", "a.py"),
    "a name that is too long": naming("x" * 256 + ".py"),
    "a path that is too long": naming("/".join(["x" * 200] * 30)),
    "half a character": naming("\ud800.py"),
    "a name that is a process's file": naming("../../../../proc/self/environ"),
    "no such object": naming("nowhere.py"),
    "other content": describing(etag='"0"'),
    "an etag that is a number": describing(etag=7),
    "a field too many": describing(mode=0o4777),
    "a link": describing(link="/etc/passwd"),
    "a device": describing(device=[1, 3]),
    "no size": describing(size_bytes=None),
    "a version that is a list": describing(version_id=["x"]),
    "files that are a list": {"manifest_version": 1, "files": ["a.py"]},
    "a file that is a text": {"manifest_version": 1, "files": {"a.py": "x"}},
    "another version": {"manifest_version": 2, "files": {}},
    "no object": [1],
}

#: What is followed, and stays in its folder.
CONTAINED = {
    "two cases of a name": naming("A.py", "a.py"),
    "a variable": naming("$HOME/evil.py"),
    "a home": naming("~/evil.py"),
    "an escaped parent": naming("%2e%2e/evil.py"),
    "an option": naming("--evil.py"),
    "a line break": naming("a\nb.py"),
    "a terminal's command": naming("\x1b[2J.py"),
    "three dots": naming(".../evil.py"),
}


@pytest.fixture(scope="module")
def clients() -> Iterator[aws.Clients]:
    """Clients of one S3 for all tests: to make them takes longest."""
    with mock_aws():
        yield aws.Clients(aws.Session, region_name="us-east-1", connections=16)


@pytest.fixture
def folder(tmp_path: Path, clients: aws.Clients, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """The folder of all bundles, beside which nothing may be written; the bucket is empty."""
    storage = tmp_path / "a" / "b" / "storage"
    monkeypatch.setenv("AIRFLOW__DAG_PROCESSOR__DAG_BUNDLE_STORAGE_PATH", str(storage))
    monkeypatch.setattr(base, "STALE_BUNDLE_TRACKING_FOLDER", storage / "_tracking")
    monkeypatch.setattr(aws, "Clients", lambda *_args, **_options: clients)
    clients.s3.create_bucket(Bucket=BUCKET)
    yield storage
    for found in clients.s3.list_objects_v2(Bucket=BUCKET)["Contents"]:
        clients.s3.delete_object(Bucket=BUCKET, Key=found["Key"])
    clients.s3.delete_bucket(Bucket=BUCKET)


def bundle_of(manifest: object, s3: Any) -> S3ManifestBundle:
    """A bundle whose bucket has this manifest and the objects that it names."""
    bundle = S3ManifestBundle(name="dags-folder", s3_uri=URI)
    bundle.sleep = lambda _seconds: None
    bundle.clock = iter(range(0, 1000, 10)).__next__
    files = manifest.get("files") if isinstance(manifest, dict) else None
    for path in files if isinstance(files, dict) else ():
        if path.isascii() and 0 < len(path) < 900 and path != "nowhere.py":
            s3.put_object(Bucket=BUCKET, Key=f"dags/{path}", Body=BODY)
    s3.put_object(Bucket=BUCKET, Key=f"dags/{MANIFEST_NAME}", Body=json.dumps(manifest).encode())
    return bundle


def outside(folder: Path) -> list[Path]:
    """The files beside the folder of all bundles."""
    top = folder.parents[1]
    return [path for path in top.rglob("*") if path.is_file() and folder not in path.parents]


@pytest.mark.parametrize("name", REFUSED)
def test_a_malicious_manifest_is_refused(folder: Path, clients: aws.Clients, name: str) -> None:
    """With a reason, and nothing of it is left, neither in the folder nor beside it."""
    with pytest.raises(DagFilesError, match="could not be fetched"):
        bundle_of(REFUSED[name], clients.s3).initialize()
    assert outside(folder) == []
    assert not list(folder.rglob("*.py"))


@pytest.mark.parametrize("name", CONTAINED)
def test_a_strange_name_stays_in_the_folder(folder: Path, clients: aws.Clients, name: str) -> None:
    """It is a name like others."""
    bundle = bundle_of(CONTAINED[name], clients.s3)
    bundle.initialize()
    assert outside(folder) == []
    found = {str(path.relative_to(bundle.path)) for path in bundle.path.rglob("*.py")}
    assert found == set(CONTAINED[name]["files"])


@pytest.mark.parametrize("name", REFUSED)
def test_a_push_over_a_malicious_manifest_touches_nothing_else(
    folder: Path, clients: aws.Clients, name: str
) -> None:
    """It replaces the manifest, or says why not; no object outside of the prefix is deleted."""
    bundle_of(REFUSED[name], clients.s3)
    for key in ("evil.py", "other/evil.py", "dags-old/a.py"):
        clients.s3.put_object(Bucket=BUCKET, Key=key, Body=BODY)
    local = folder.parent / "dags"
    local.mkdir(parents=True)
    (local / "a.py").write_bytes(BODY)
    store = aws.S3DagFolder(clients, DagLocation.parse(URI))
    files = dag_push.read(local)
    complaint = ""
    try:
        dag_push.push(files, dag_push.plan(files, store), store, lambda _: None)
    except LambdaExecutorError as e:
        complaint = str(e)
    assert not complaint or MANIFEST_NAME in complaint
    left = {each["Key"] for each in clients.s3.list_objects_v2(Bucket=BUCKET)["Contents"]}
    assert {"evil.py", "other/evil.py", "dags-old/a.py"} <= left
