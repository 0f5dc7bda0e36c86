"""`airflow lambda-executor dags push`: from a local folder to a function's folder."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import boto3
import pytest
from moto import mock_aws

from lambda_executor.aws import S3DagFolder
from lambda_executor.bundles import S3ManifestBundle
from lambda_executor.contract.dag_manifest import (
    MANIFEST_NAME,
    OWN_FOLDER,
    DagLocation,
    DagManifest,
)
from tests.support.command_line import complaint, run

URI = "s3://bucket/dags/"


@pytest.fixture
def s3(monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    """A bucket with an empty prefix, and a folder of somebody else."""
    monkeypatch.setenv("AWS_DEFAULT_REGION", "us-east-1")
    with mock_aws():
        client = boto3.client("s3")
        client.create_bucket(Bucket="bucket")
        client.put_object(Bucket="bucket", Key="dags-old/a.py", Body=b"old")
        yield client


@pytest.fixture
def dags(tmp_path: Path) -> Path:
    """A DAG folder with the usual clutter."""
    folder = tmp_path / "dags"
    for path in ("a.py", "team/b.py", "team/sql/c.sql", ".airflowignore"):
        (folder / path).parent.mkdir(parents=True, exist_ok=True)
        (folder / path).write_text(path)
    for path in ("__pycache__/a.pyc", ".git/HEAD", "team/.DS_Store", ".env", "env/pyvenv.cfg"):
        (folder / path).parent.mkdir(parents=True, exist_ok=True)
        (folder / path).touch()
    return folder


def keys(s3: Any) -> set[str]:
    """The objects below the prefix, without the manifests of versions."""
    found = s3.list_objects_v2(Bucket="bucket", Prefix="dags/")["Contents"]
    paths = {each["Key"].removeprefix("dags/") for each in found}
    return {path for path in paths if not path.startswith(f"{OWN_FOLDER}/versions/")}


def manifest(s3: Any) -> DagManifest:
    """The manifest in the bucket."""
    answer = s3.get_object(Bucket="bucket", Key=DagLocation.parse(URI).manifest_key)
    return DagManifest.decode(answer["Body"].read())


def bundle_has(home: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, str]:
    """The DAG folder of a function, or of a DAG processor, that starts now."""
    monkeypatch.setenv("AIRFLOW__DAG_PROCESSOR__DAG_BUNDLE_STORAGE_PATH", str(home))
    bundle = S3ManifestBundle(name="dags-folder", s3_uri=URI)
    bundle.initialize()
    found = (path for path in bundle.path.rglob("*") if path.is_file())
    files = {str(path.relative_to(bundle.path)): path.read_text() for path in found}
    return {path: text for path, text in files.items() if not path.startswith(OWN_FOLDER)}


def test_what_is_pushed_is_what_a_bundle_has(
    s3: Any,
    dags: Path,
    tmp_path: Path,
    capfd: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Subfolders are kept; files of Python and git are not uploaded."""
    code, answer = run(capfd, "dags", "push", str(dags), "s3://bucket/dags")
    assert code == 0
    assert "uploaded team/sql/c.sql" in answer
    assert f"version {manifest(s3).version}, 4 files: 4 uploaded, 0 deleted, 0 unchanged" in answer
    files = {path: path for path in ("a.py", "team/b.py", "team/sql/c.sql", ".airflowignore")}
    assert keys(s3) == {*files, MANIFEST_NAME}
    assert bundle_has(tmp_path / "home", monkeypatch) == files


def test_only_changes_are_uploaded_and_what_is_gone_is_deleted(
    s3: Any, dags: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    """The second push reports exactly the files that it changed."""
    run(capfd, "dags", "push", str(dags), URI)
    (dags / "a.py").write_text("new")
    (dags / "team/b.py").unlink()
    code, answer = run(capfd, "dags", "push", str(dags), URI)
    assert code == 0
    lines = answer.splitlines()
    assert lines[:2] == ["uploaded a.py", "deleted team/b.py"]
    assert lines[2].endswith("1 uploaded, 1 deleted, 2 unchanged")
    assert keys(s3) == {"a.py", "team/sql/c.sql", ".airflowignore", MANIFEST_NAME}


def test_the_manifest_comes_after_the_files_and_before_the_deletions(
    s3: Any, dags: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    """A reader finds all files of one manifest at any moment."""
    run(capfd, "dags", "push", str(dags), URI)
    (dags / "a.py").write_text("new")
    (dags / "team/b.py").unlink()
    did: list[str] = []
    real = boto3.session.Session.client

    def watched(self: Any, *args: Any, **kwargs: Any) -> Any:
        client = real(self, *args, **kwargs)
        client.meta.events.register(
            "before-call.s3",
            lambda model, params, **_: did.append(
                f"{model.name} {params['url_path'].rpartition('/')[2]}"
            ),
        )
        return client

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(boto3.session.Session, "client", watched)
        run(capfd, "dags", "push", str(dags), URI)
    assert [each for each in did if not each.startswith(("Get", "List"))] == [
        "PutObject a.py",
        f"PutObject {manifest(s3).version}.json",
        "PutObject manifest.json",
        "DeleteObject b.py",
    ]


def test_a_push_says_what_a_run_will_see(
    s3: Any, dags: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    """Both versions, the changed DAG files, and which runs use which version."""
    s3.put_bucket_versioning(Bucket="bucket", VersioningConfiguration={"Status": "Enabled"})
    _, answer = run(capfd, "dags", "push", str(dags), URI)
    first = manifest(s3).version
    assert answer.splitlines()[-1] == f"this is the first push: all runs use {first}"
    (dags / "a.py").write_text("new")
    (dags / "team/b.py").unlink()
    _, answer = run(capfd, "dags", "push", str(dags), URI)
    second = manifest(s3).version
    assert answer.splitlines()[-3:] == [
        f"{URI} has version {second}, 3 files: 1 uploaded, 1 deleted, 2 unchanged",
        "changed Python files: a.py, team/b.py",
        (
            f"runs that already started keep their version, the latest of them {first}; new runs, "
            f"and tasks of DAGs that are not versioned, use {second}"
        ),
    ]
    _, answer = run(capfd, "dags", "push", str(dags), URI)
    assert "the same as before: nothing changes for any run" in answer


def test_a_push_says_that_the_bucket_keeps_no_versions(
    s3: Any, dags: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    """Then every task that starts uses the push, and the remedy is named."""
    run(capfd, "dags", "push", str(dags), URI)
    (dags / "a.py").write_text("new")
    _, answer = run(capfd, "dags", "push", str(dags), URI)
    last = answer.splitlines()[-1]
    assert f"every task that starts from now on uses {manifest(s3).version}" in last
    assert "Turn on versioning for the bucket" in last
    assert "runs that already started keep" not in answer


def test_the_folder_may_be_in_the_home_folder(
    s3: Any, dags: Path, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The output `DagsPushCommand` quotes `image.dags`, so the shell does not expand its `~`."""
    monkeypatch.setenv("HOME", str(dags.parent))
    code, _ = run(capfd, "dags", "push", "~/dags", URI)
    assert (code, "a.py" in keys(s3)) == (0, True)


def test_a_push_says_that_versions_begin(
    s3: Any, dags: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    """Runs before it have no version, and a DAG processor that runs stays without versions."""
    run(capfd, "dags", "push", str(dags), URI)
    s3.put_bucket_versioning(Bucket="bucket", VersioningConfiguration={"Status": "Enabled"})
    (dags / "a.py").write_text("new")
    _, answer = run(capfd, "dags", "push", str(dags), URI)
    assert "restart the DAG processor" in answer.splitlines()[-1]
    assert "runs that already started keep" not in answer


def test_a_dry_run_changes_nothing(s3: Any, dags: Path, capfd: pytest.CaptureFixture[str]) -> None:
    """The dry run shows the changes of a push, and makes none."""
    run(capfd, "dags", "push", str(dags), URI)
    before = manifest(s3)
    (dags / "new.py").touch()
    (dags / "a.py").unlink()
    code, answer = run(capfd, "dags", "push", str(dags), URI, "--dry-run")
    assert (code, manifest(s3)) == (0, before)
    assert answer.splitlines() == [
        "would upload new.py",
        "would delete a.py",
        "1 to upload, 1 to delete, 3 unchanged",
    ]


def test_what_a_push_did_not_put_there_is_left_alone(
    s3: Any,
    dags: Path,
    tmp_path: Path,
    capfd: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A push to a wrong prefix deletes no data; bundles do not load foreign files."""
    s3.put_object(Bucket="bucket", Key="dags/precious.csv", Body=b"1")
    code, answer = run(capfd, "dags", "push", str(dags), URI)
    assert code == 0
    assert "1 objects are not from a push and are left alone: precious.csv" in answer
    assert "precious.csv" in keys(s3)
    assert "precious.csv" not in bundle_has(tmp_path / "home", monkeypatch)


def test_a_file_that_was_changed_in_s3_is_uploaded_again(
    s3: Any, dags: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    """The content of S3 counts, not the last manifest."""
    run(capfd, "dags", "push", str(dags), URI)
    s3.put_object(Bucket="bucket", Key="dags/a.py", Body=b"by hand")
    _, answer = run(capfd, "dags", "push", str(dags), URI)
    assert "uploaded a.py" in answer


def test_patterns_leave_files_out(s3: Any, dags: Path, capfd: pytest.CaptureFixture[str]) -> None:
    """Files are excluded by their name in any folder, or by their path."""
    words = ("--exclude", "*.sql", "--exclude", "team/b.py")
    run(capfd, "dags", "push", str(dags), URI, *words)
    assert set(manifest(s3).files) == {"a.py", ".airflowignore"}


@pytest.mark.usefixtures("s3")
@pytest.mark.parametrize(
    ("folder", "uri", "says"),
    [
        ("gone", URI, "is not a folder"),
        ("empty", URI, "has no files to upload"),
        ("dags", "bucket/dags", "is no place for DAG files"),
        ("dags", "s3://no-such-bucket/dags", "NoSuchBucket"),
        ("linked", URI, "is a link to a folder"),
    ],
)
def test_a_push_that_is_refused_has_a_one_line_reason(
    dags: Path, folder: str, uri: str, says: str, capfd: pytest.CaptureFixture[str]
) -> None:
    """The error is on stderr, and the exit code is 1."""
    (dags.parent / "empty").mkdir()
    (dags.parent / "linked").mkdir()
    (dags.parent / "linked/there").symlink_to(dags)
    assert says in complaint(capfd, "dags", "push", str(dags.parent / folder), uri)


def test_a_push_that_breaks_off_leaves_the_old_version(
    s3: Any, dags: Path, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The error names the refused file, the manifest stays; the next push completes it."""
    run(capfd, "dags", "push", str(dags), URI)
    before = manifest(s3)
    (dags / "a.py").write_text("new")
    real = S3DagFolder._put

    def refuse(self: S3DagFolder, key: str, content: bytes) -> Any:
        if key.endswith("a.py"):
            self = S3DagFolder(self._clients, DagLocation("no-such-bucket", ""))
        return real(self, key, content)

    with monkeypatch.context() as patch:
        patch.setattr(S3DagFolder, "_put", refuse)
        assert "a.py was not uploaded: " in complaint(capfd, "dags", "push", str(dags), URI)
    assert manifest(s3) == before
    code, answer = run(capfd, "dags", "push", str(dags), URI)
    assert (code, answer.splitlines()[0]) == (0, "uploaded a.py")
