"""DAG files that follow a location in S3: moto's S3, with every request counted."""

from __future__ import annotations

import errno
import io
import itertools
import os
import shutil
import tarfile
import zipfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import boto3
import pytest
from botocore.exceptions import ClientError
from moto import mock_aws

from lambda_executor.contract.dag_manifest import DagLocation, DagManifest, StoredFile
from lambda_executor.contract.options import DAGS_S3_URI
from lambda_image.dags import source as dag_source
from lambda_image.dags.objects import DagSourceError, S3Archive, S3Prefix
from lambda_image.dags.source import S3DagSource

BUCKET = "bucket"


@dataclass
class Place:
    """A bucket, and an execution environment that follows a location in it."""

    home: Path
    s3: Any
    requests: list[str]

    def follow(self, uri: str) -> S3DagSource:
        """Follow a URI as the init phase does, with a client that counts its requests."""
        environ = {"AIRFLOW_HOME": str(self.home), DAGS_S3_URI.environment_variable: uri}
        source = dag_source.prepare(environ)
        assert source is not None
        location = DagLocation.parse(uri)
        source.make_remote = lambda: (S3Archive if location.is_archive else S3Prefix)(
            self.s3, location
        )
        source.sleep = lambda _seconds: None
        self.folder = Path(environ["AIRFLOW__CORE__DAGS_FOLDER"])
        self.requests.clear()
        return source

    def put(self, key: str, body: str | bytes = "x") -> StoredFile:
        """Put an object; returns its entry for the manifest."""
        answer = self.s3.put_object(Bucket=BUCKET, Key=key, Body=body)
        return StoredFile(answer["ETag"], len(body), "sha", answer.get("VersionId"))

    def push(self, **files: str) -> None:
        """What a push leaves behind: files, then the manifest. `a__b` stands for `a/b.py`."""
        paths = {f"{name.replace('__', '/')}.py": body for name, body in files.items()}
        stored = {path: self.put(f"dags/{path}", body) for path, body in paths.items()}
        self.put(DagLocation(BUCKET, "dags/").manifest_key, DagManifest(stored).encode())

    def asked(self) -> list[str]:
        """The requests since the last call."""
        requests = sorted(name for name in self.requests if not name.startswith("Put"))
        self.requests.clear()
        return requests

    def tree(self) -> dict[str, str]:
        """The files in Airflow's DAG folder."""
        found = (path for path in self.folder.rglob("*") if path.is_file())
        return {str(path.relative_to(self.folder)): path.read_text() for path in found}

    def trees(self) -> int:
        """Count the trees on the disk, complete or not."""
        return len([path for path in self.folder.parent.iterdir() if not path.is_symlink()])


@pytest.fixture(scope="module")
def s3() -> Iterator[Any]:
    """A client of a well-behaved S3."""
    with mock_aws():
        yield boto3.client("s3", region_name="us-east-1")


@pytest.fixture
def place(tmp_path: Path, s3: Any) -> Iterator[Place]:
    """An empty bucket."""
    requests: list[str] = []

    def count(model: Any, **_: Any) -> None:
        requests.append(model.name)

    s3.create_bucket(Bucket=BUCKET)
    s3.meta.events.register("before-call.s3", count)
    yield Place(tmp_path / "home", s3, requests)
    s3.meta.events.unregister("before-call.s3", count)
    versions = s3.list_object_versions(Bucket=BUCKET)
    for found in (*versions.get("Versions", ()), *versions.get("DeleteMarkers", ())):
        s3.delete_object(Bucket=BUCKET, Key=found["Key"], VersionId=found["VersionId"])
    s3.delete_bucket(Bucket=BUCKET)


def test_without_a_uri_the_dags_are_the_images() -> None:
    """S3 is not called, and Airflow's DAG folder stays."""
    environ = {"AIRFLOW_HOME": "/home"}
    assert dag_source.prepare(environ) is None
    assert "AIRFLOW__CORE__DAGS_FOLDER" not in environ


def test_folders_are_kept_and_neighbours_are_not_pulled(place: Place) -> None:
    """`dags` means `dags/`, and not other keys that begin with these letters."""
    place.put("dags/a.py", "a")
    place.put("dags/deep/er/a.py", "b")
    place.put("dags/empty/", "")
    place.put("dags-old/c.py")
    place.put("dags.py")
    place.follow("s3://bucket/dags").refresh()
    assert place.tree() == {"a.py": "a", "deep/er/a.py": "b"}


def test_a_warm_environment_asks_once_and_fetches_nothing(place: Place) -> None:
    """With a manifest, the check before a task is one call, answered 'not modified'."""
    place.push(a="1", b="1")
    source = place.follow("s3://bucket/dags/")
    source.refresh()
    assert place.asked() == ["GetObject"] * 3
    source.refresh()
    assert place.asked() == ["GetObject"]


def test_a_push_is_seen_by_the_next_look_and_only_changes_are_fetched(place: Place) -> None:
    """The next check fetches the manifest and the changed file; deleted files are gone."""
    place.push(a="1", deep__b="1", c="1")
    source = place.follow("s3://bucket/dags/")
    source.refresh()
    place.asked()
    place.push(a="2", deep__b="1")
    source.refresh()
    assert place.tree() == {"a.py": "2", "deep/b.py": "1"}
    assert place.asked() == ["GetObject"] * 2
    assert place.trees() == 1


def test_without_a_manifest_the_look_is_a_list(place: Place) -> None:
    """Files from `aws s3 sync` work too; the first check takes one more call."""
    place.put("dags/a.py", "1")
    place.put("dags/b.py", "1")
    source = place.follow("s3://bucket/dags/")
    source.refresh()
    assert place.asked() == ["GetObject"] * 3 + ["ListObjectsV2"]
    source.refresh()
    assert place.asked() == ["ListObjectsV2"]
    place.put("dags/a.py", "2")
    source.refresh()
    assert place.tree() == {"a.py": "2", "b.py": "1"}
    assert place.asked() == ["GetObject", "ListObjectsV2"]


def test_a_first_push_over_a_synced_prefix_is_seen(place: Place) -> None:
    """From then on the manifest names the files."""
    place.put("dags/a.py", "1")
    source = place.follow("s3://bucket/dags/")
    source.refresh()
    place.push(b="1")
    source.refresh()
    assert place.tree() == {"b.py": "1"}
    place.asked()
    source.refresh()
    assert place.asked() == ["GetObject"]


def test_half_a_push_is_not_seen(place: Place) -> None:
    """Until the new manifest is there, a warm environment keeps the old files."""
    place.push(a="1", b="1")
    source = place.follow("s3://bucket/dags/")
    source.refresh()
    place.put("dags/a.py", "2")
    source.refresh()
    assert place.tree() == {"a.py": "1", "b.py": "1"}


def test_a_cold_environment_waits_for_the_end_of_a_push(place: Place) -> None:
    """Files that do not match the manifest are not used; the next manifest is."""
    place.push(a="1")
    place.put("dags/a.py", "2")
    source = place.follow("s3://bucket/dags/")
    source.sleep = lambda _seconds: place.push(a="2")
    source.refresh()
    assert place.tree() == {"a.py": "2"}


def test_the_init_phase_does_not_wait_for_a_push(place: Place) -> None:
    """The init phase has no time to wait; the first task checks again."""
    place.push(a="1")
    place.put("dags/a.py", "2")
    source = place.follow("s3://bucket/dags/")
    source.sleep = lambda _seconds: pytest.fail("it waited")
    with pytest.raises(DagSourceError, match="other content"):
        source.refresh(patience_s=0)


@pytest.mark.parametrize("change", ["other content", "is gone"])
def test_files_changed_behind_the_manifests_back_are_a_reason(place: Place, change: str) -> None:
    """The wait ends, and the reason says what to do."""
    place.push(a="1")
    if change == "is gone":
        place.s3.delete_object(Bucket=BUCKET, Key="dags/a.py")
    else:
        place.put("dags/a.py", "2")
    source = place.follow("s3://bucket/dags/")
    source.clock = itertools.count(step=15).__next__
    with pytest.raises(DagSourceError, match=rf"s3://bucket/dags/ .*{change}.*push again"):
        source.refresh()


def test_a_bucket_with_versions_has_the_manifests_files_during_a_push(place: Place) -> None:
    """A cold environment need not wait: it reads the manifest's versions."""
    place.s3.put_bucket_versioning(Bucket=BUCKET, VersioningConfiguration={"Status": "Enabled"})
    place.push(a="1", b="1")
    place.put("dags/a.py", "2")
    place.s3.delete_object(Bucket=BUCKET, Key="dags/b.py")
    place.follow("s3://bucket/dags/").refresh()
    assert place.tree() == {"a.py": "1", "b.py": "1"}


def zipped(**files: str) -> bytes:
    """A zip file; `a__b` stands for `a/b.py`."""
    archive = io.BytesIO()
    with zipfile.ZipFile(archive, "w") as z:
        for name, body in files.items():
            z.writestr(f"{name.replace('__', '/')}.py", body)
    return archive.getvalue()


def tarred(*members: tarfile.TarInfo, mode: Any = "w:gz") -> bytes:
    """A tar file; every plain member holds as many x as it is long."""
    archive = io.BytesIO()
    with tarfile.open(fileobj=archive, mode=mode) as t:
        for member in members:
            t.addfile(member, io.BytesIO(b"x" * member.size))
    return archive.getvalue()


def member(name: str, **values: Any) -> tarfile.TarInfo:
    """A member of a tar file."""
    info = tarfile.TarInfo(name)
    for key, value in ({"size": 1} | values).items():
        setattr(info, key, value)
    return info


def test_an_archive_is_one_state(place: Place) -> None:
    """An unchanged archive takes one call; another archive replaces the whole tree."""
    place.put("dags.zip", zipped(a="1", deep__b="1"))
    source = place.follow("s3://bucket/dags.zip")
    source.refresh()
    assert place.tree() == {"a.py": "1", "deep/b.py": "1"}
    assert place.asked() == ["GetObject", "HeadObject"]
    source.refresh()
    assert place.asked() == ["HeadObject"]
    place.put("dags.zip", zipped(a="2"))
    source.refresh()
    assert place.tree() == {"a.py": "2"}
    assert place.trees() == 1


def test_a_tar_file_as_tar_makes_it(place: Place) -> None:
    """`tar czf dags.tar.gz -C dags .` writes folders and names that begin with a dot."""
    folder = member("./deep", type=tarfile.DIRTYPE, size=0)
    place.put("dags.tar.gz", tarred(folder, member("./deep/a.py"), member("./b.py")))
    place.follow("s3://bucket/dags.tar.gz").refresh()
    assert place.tree() == {"deep/a.py": "x", "b.py": "x"}


@pytest.mark.parametrize(
    ("archive", "says"),
    [
        (tarred(member("../a.py")), "leads elsewhere"),
        (tarred(member("/a.py")), "leads elsewhere"),
        (tarred(member("a.py", type=tarfile.SYMTYPE, linkname="/etc", size=0)), "no plain file"),
        (tarred(member("a.py", type=tarfile.LNKTYPE, linkname="b", size=0)), "no plain file"),
        (tarred(member("a.py", type=tarfile.FIFOTYPE, size=0)), "no plain file"),
        (tarred(member("a.py", size=9000))[:60], "no zip or tar file"),
        (zipped(**{"..__a": ""}), "leads elsewhere"),
        (zipped(), "is empty"),
        (b"nothing", "no zip or tar file"),
    ],
    ids=["up", "absolute", "symlink", "hard link", "fifo", "torn", "zip up", "empty", "text"],
)
def test_an_archive_that_must_not_be_unpacked_is_a_reason(
    place: Place, archive: bytes, says: str
) -> None:
    """Nothing is written outside the tree, and the previous tree stays."""
    place.put("dags.zip", zipped(a="1"))
    source = place.follow("s3://bucket/dags.zip")
    source.refresh()
    place.put("dags.zip", archive)
    with pytest.raises(DagSourceError, match=says):
        source.refresh()
    assert place.tree() == {"a.py": "1"}
    assert place.trees() == 1


def test_a_link_in_a_zip_file_is_refused(place: Place) -> None:
    """A link would be written as a file that holds a path."""
    archive = io.BytesIO()
    with zipfile.ZipFile(archive, "w") as z:
        link = zipfile.ZipInfo("a.py")
        link.external_attr = 0o120777 << 16
        z.writestr(link, "/etc/passwd")
    place.put("dags.zip", archive.getvalue())
    with pytest.raises(DagSourceError, match="has a link"):
        place.follow("s3://bucket/dags.zip").refresh()


@pytest.mark.parametrize(
    ("uri", "says"),
    [
        ("s3://bucket/dags.zip", r"s3://bucket/dags\.zip .*404"),
        ("s3://bucket/dags/", "there is nothing"),
        ("s3://no-such-bucket/dags/", "NoSuchBucket"),
    ],
)
def test_what_is_not_there_is_a_reason(place: Place, uri: str, says: str) -> None:
    """The reason has S3's own error; a later upload is found."""
    source = place.follow(uri)
    with pytest.raises(DagSourceError, match=says):
        source.refresh()
    assert place.trees() == 0
    if "dags.zip" in uri:
        place.put("dags.zip", zipped(a="1"))
        source.refresh()
        assert place.tree() == {"a.py": "1"}


def test_a_key_that_leads_elsewhere_is_refused(place: Place) -> None:
    """S3 allows any name, but a file below a folder must have a plain one."""
    place.put("dags/../../etc/cron.d/a")
    with pytest.raises(DagSourceError, match="cannot be a file below the DAG folder"):
        place.follow("s3://bucket/dags/").refresh()


def test_a_full_disk_is_a_reason_and_leaves_nothing(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The current tree stays, the half one is removed, and the next check may succeed."""
    place.push(a="1")
    source = place.follow("s3://bucket/dags/")
    source.refresh()
    place.push(a="2", b="2")

    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    with monkeypatch.context() as patch:
        patch.setattr(shutil, "copyfileobj", full)
        with pytest.raises(DagSourceError, match=r"do not fit on .* more ephemeral storage"):
            source.refresh()
    assert place.tree() == {"a.py": "1"}
    assert place.trees() == 1
    source.refresh()
    assert place.tree() == {"a.py": "2", "b.py": "2"}


@pytest.mark.parametrize("breaks_at", ["symlink_to", "replace"])
def test_a_process_that_dies_during_the_switch_leaves_a_whole_tree(
    place: Place, monkeypatch: pytest.MonkeyPatch, breaks_at: str
) -> None:
    """At each step of the switch the link leads to the old tree; the next switch works."""
    place.push(a="1")
    source = place.follow("s3://bucket/dags/")
    source.refresh()
    place.push(a="2")

    def dies(*_: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(Path, breaks_at, dies)
        with pytest.raises(KeyboardInterrupt):
            source.refresh()
    assert place.tree() == {"a.py": "1"}
    source.refresh()
    assert place.tree() == {"a.py": "2"}


def test_a_task_cannot_easily_change_a_file_for_later_tasks(place: Place) -> None:
    """Files are shared between trees, so nobody may write to them."""
    place.push(a="1")
    place.follow("s3://bucket/dags/").refresh()
    assert (place.folder / "a.py").stat().st_mode & 0o222 == 0


def test_a_denied_look_names_the_permissions(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    """S3 says 'denied' for a missing object, too, if the role may not list."""
    source = place.follow("s3://bucket/dags/")
    answer: Any = {"Error": {"Code": "AccessDenied", "Message": "Access Denied"}}

    def denied(**_: Any) -> None:
        raise ClientError(answer, "GetObject")

    monkeypatch.setattr(place.s3, "get_object", denied)
    with pytest.raises(DagSourceError, match=r"Access Denied\. The function's role needs s3:Get"):
        source.refresh()
