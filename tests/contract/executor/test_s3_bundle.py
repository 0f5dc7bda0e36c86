"""The DAG bundle of a folder in S3: moto's S3, real pushes, with every request counted.

`test_on_each_airflow` runs this file with every minor version of Airflow.
"""

from __future__ import annotations

import errno
import itertools
import json
import os
import shutil
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import pytest
from airflow.dag_processing.bundles import base
from airflow.dag_processing.bundles.manager import DagBundlesManager
from botocore.exceptions import ClientError
from moto import mock_aws

from lambda_executor import aws
from lambda_executor.bundles import S3ManifestBundle
from lambda_executor.bundles.s3_manifest import DagFilesError
from lambda_executor.contract.dag_manifest import (
    BUNDLE_NAME,
    KEPT_DAYS,
    DagLocation,
    DagManifest,
    StoredFile,
    bundle_config,
)
from lambda_executor.contract.errors import ConfigError
from lambda_executor.ops import dag_push

BUCKET = "bucket"
URI = f"s3://{BUCKET}/dags/"
LOCATION = DagLocation.parse(URI)


@dataclass
class Place:
    """A bucket, a local DAG folder, and a machine with bundles of the bucket."""

    local: Path
    clients: aws.Clients
    requests: list[str] = field(default_factory=list)

    def bundle(self, version: str | None = None, uri: str = URI) -> S3ManifestBundle:
        """A bundle as a process makes it, but with the clients of this test."""
        bundle = S3ManifestBundle(name="dags-folder", version=version, s3_uri=uri)
        bundle._store._clients = self.clients
        bundle.sleep = lambda _seconds: pytest.fail("it waited")
        return bundle

    def ready(self, version: str | None = None) -> S3ManifestBundle:
        """A bundle with its files."""
        bundle = self.bundle(version)
        bundle.initialize()
        return bundle

    def push(self, **files: str) -> str:
        """Push a folder with these files only; `a__b` stands for `a/b.py`. Returns the version."""
        shutil.rmtree(self.local, ignore_errors=True)
        for name, body in files.items():
            path = self.local / f"{name.replace('__', '/')}.py"
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(body)
        before = list(self.requests)
        store = aws.S3DagFolder(self.clients, LOCATION)
        found = dag_push.read(self.local)
        version = dag_push.push(found, dag_push.plan(found, store), store, lambda _: None).version
        self.requests[:] = before
        return version

    def put(self, key: str, body: str = "x") -> None:
        """Put an object that is not from a push."""
        self.s3.put_object(Bucket=BUCKET, Key=key, Body=body.encode())

    @property
    def s3(self) -> Any:
        """The client."""
        return self.clients.s3

    def asked(self) -> list[str]:
        """The requests since the last call."""
        requests = sorted(name for name in self.requests if not name.startswith("Put"))
        self.requests.clear()
        return requests


def tree(bundle: S3ManifestBundle) -> dict[str, str]:
    """The DAG files of a bundle."""
    found = (path for path in bundle.path.rglob("*") if path.is_file())
    files = {str(path.relative_to(bundle.path)): path.read_text() for path in found}
    return {path: text for path, text in files.items() if not path.startswith(".lambda-executor/")}


def version_of(bundle: S3ManifestBundle) -> str | None:
    """The current version as Airflow reads it."""
    version = bundle.get_current_version()
    name: str | None = getattr(version, "version", version)
    return name


def folders(bundle: S3ManifestBundle) -> int:
    """Count the trees of the latest versions on the disk, complete or not."""
    folder = bundle.base_dir / "latest"
    found = folder.iterdir() if folder.is_dir() else ()
    return len([path for path in found if path.is_dir() and not path.is_symlink()])


@pytest.fixture(scope="module")
def clients() -> Iterator[aws.Clients]:
    """Clients of a well-behaved S3."""
    with mock_aws():
        yield aws.Clients(aws.Session, region_name="us-east-1", connections=16)


@pytest.fixture
def place(tmp_path: Path, clients: aws.Clients, monkeypatch: pytest.MonkeyPatch) -> Iterator[Place]:
    """An empty bucket without versions."""
    storage = tmp_path / "storage"
    monkeypatch.setenv("AIRFLOW__DAG_PROCESSOR__DAG_BUNDLE_STORAGE_PATH", str(storage))
    monkeypatch.setattr(base, "STALE_BUNDLE_TRACKING_FOLDER", storage / "_tracking")
    monkeypatch.setenv("AWS_DEFAULT_REGION", "us-east-1")
    place = Place(tmp_path / "dags", clients)

    def count(model: Any, **_: Any) -> None:
        place.requests.append(model.name)

    place.s3.create_bucket(Bucket=BUCKET)
    place.s3.meta.events.register("before-call.s3", count)
    yield place
    place.s3.meta.events.unregister("before-call.s3", count)
    versions = place.s3.list_object_versions(Bucket=BUCKET)
    for found in (*versions.get("Versions", ()), *versions.get("DeleteMarkers", ())):
        place.s3.delete_object(Bucket=BUCKET, Key=found["Key"], VersionId=found["VersionId"])
    place.s3.delete_bucket(Bucket=BUCKET)


@pytest.fixture
def versioned(place: Place) -> Place:
    """An empty bucket that keeps versions."""
    place.s3.put_bucket_versioning(Bucket=BUCKET, VersioningConfiguration={"Status": "Enabled"})
    return place


def test_the_bundle_has_the_files_of_the_push_alone(place: Place) -> None:
    """Folders are kept; keys that a push did not name, or of a similar prefix, are not files."""
    place.push(a="a", deep__er__a="b")
    place.put("dags/foreign.py")
    place.put("dags-old/c.py")
    assert tree(place.ready()) == {"a.py": "a", "deep/er/a.py": "b"}


def test_a_check_is_one_call_and_fetches_nothing(place: Place) -> None:
    """S3 answers 'not modified', also to another process of the same machine."""
    place.push(a="1", b="1")
    bundle = place.ready()
    assert place.asked() == ["GetObject"] * 3
    bundle.refresh()
    assert place.asked() == ["GetObject"]
    assert tree(place.ready()) == {"a.py": "1", "b.py": "1"}
    assert place.asked() == ["GetObject"]


def test_a_push_is_seen_by_the_next_check_and_only_changes_are_fetched(place: Place) -> None:
    """The check fetches the manifest and the changed file; the others are hard links."""
    place.push(a="1", deep__b="1", c="1")
    bundle = place.ready()
    same = (bundle.path / "deep/b.py").stat().st_ino
    place.asked()
    place.push(a="2", deep__b="1")
    bundle.refresh()
    assert tree(bundle) == {"a.py": "2", "deep/b.py": "1"}
    assert place.asked() == ["GetObject"] * 2
    assert (bundle.path / "deep/b.py").stat().st_ino == same


def test_who_reads_a_tree_can_read_it_until_the_next_switch_but_one(place: Place) -> None:
    """The DAG processor lists the files of a version and parses them a little later."""
    place.push(a="1")
    bundle = place.ready()
    listed = bundle.path
    place.push(a="2")
    bundle.refresh()
    assert (listed / "a.py").read_text() == "1"
    place.push(a="3")
    bundle.refresh()
    assert not listed.exists()
    assert folders(bundle) == 2


def test_half_a_push_is_not_seen(place: Place) -> None:
    """Until the new manifest is there, the old files stay."""
    place.push(a="1", b="1")
    bundle = place.ready()
    place.put("dags/a.py", "2")
    bundle.refresh()
    assert tree(bundle) == {"a.py": "1", "b.py": "1"}


def test_without_versions_a_first_fetch_waits_for_the_end_of_a_push(place: Place) -> None:
    """Files that do not match the manifest are not used; the next manifest is."""
    place.push(a="1")
    place.put("dags/a.py", "2")
    bundle = place.bundle()

    def push_meanwhile(_seconds: float) -> None:
        place.push(a="3")

    bundle.sleep = push_meanwhile
    bundle.initialize()
    assert tree(bundle) == {"a.py": "3"}


def test_the_init_phase_does_not_wait_for_a_push(place: Place) -> None:
    """The init phase of a function has no time to wait; the first task checks again."""
    place.push(a="1")
    place.put("dags/a.py", "2")
    with pytest.raises(DagFilesError, match="other content"):
        place.bundle().prefetch()


@pytest.mark.parametrize("change", ["other content", "is gone"])
def test_files_changed_behind_the_manifests_back_are_a_reason(place: Place, change: str) -> None:
    """The wait ends, and the reason says what to do."""
    place.push(a="1")
    if change == "is gone":
        place.s3.delete_object(Bucket=BUCKET, Key="dags/a.py")
    else:
        place.put("dags/a.py", "2")
    bundle = place.bundle()
    bundle.clock = itertools.count(step=15).__next__
    bundle.sleep = lambda _seconds: None
    with pytest.raises(DagFilesError, match=rf"{URI} .*{change}.*push again"):
        bundle.initialize()


def test_a_bucket_with_versions_has_the_manifests_files_during_a_push(versioned: Place) -> None:
    """Nobody need wait: the manifest names versions of objects."""
    versioned.push(a="1", b="1")
    versioned.put("dags/a.py", "2")
    versioned.s3.delete_object(Bucket=BUCKET, Key="dags/b.py")
    assert tree(versioned.ready()) == {"a.py": "1", "b.py": "1"}


def test_a_run_keeps_the_version_that_it_started_with(versioned: Place) -> None:
    """A bundle of a version has its files, whatever was pushed or deleted since."""
    versioned.push(a="1", b="1")
    first = version_of(versioned.ready())
    versioned.push(a="2")
    second = version_of(versioned.ready())
    assert first != second
    assert tree(versioned.ready(first)) == {"a.py": "1", "b.py": "1"}
    assert tree(versioned.ready(second)) == {"a.py": "2"}
    assert version_of(versioned.ready(first)) == first


def test_a_version_is_that_of_the_push(versioned: Place) -> None:
    """What `dags push` prints is what Airflow stores for a run."""
    assert versioned.push(a="1") == version_of(versioned.ready())


def test_a_version_on_the_disk_needs_no_call(versioned: Place) -> None:
    """Neither the second process that asks for it, nor one that asks for the latest one's."""
    first = versioned.push(a="1")
    second = versioned.push(a="2")
    latest = versioned.ready()
    versioned.ready(first)
    versioned.asked()
    versioned.ready(first)
    assert tree(versioned.ready(second)) == tree(latest)
    assert versioned.asked() == []


def test_trees_share_the_files_that_are_the_same(versioned: Place) -> None:
    """An old version costs its own files: on the disk, and in calls beside the manifest's."""
    first = versioned.push(a="1", b="1")
    versioned.push(a="2", b="1")
    latest = versioned.ready()
    versioned.asked()
    old = versioned.ready(first)
    assert versioned.asked() == ["GetObject"] * 2
    assert (old.path / "b.py").samefile(latest.path / "b.py")


def test_a_version_that_was_pushed_again_is_the_same(versioned: Place) -> None:
    """After a push of old files, runs of then and of now have one version."""
    first = versioned.push(a="1")
    versioned.push(a="2")
    assert versioned.push(a="1") == first
    assert tree(versioned.ready(first)) == {"a.py": "1"}


@pytest.mark.parametrize("gone", ["dags/a.py", "the manifest"])
def test_a_version_that_expired_is_a_reason(versioned: Place, gone: str) -> None:
    """The reason names the version, the folder and the remedy."""
    first = versioned.push(a="1")
    versioned.push(a="2")
    key = gone if gone.startswith("dags/") else LOCATION.version_key(first)
    found = versioned.s3.list_object_versions(Bucket=BUCKET, Prefix=key)["Versions"]
    oldest = min(found, key=lambda each: bool(each["IsLatest"]))
    versioned.s3.delete_object(Bucket=BUCKET, Key=key, VersionId=oldest["VersionId"])
    with pytest.raises(DagFilesError) as caught:
        versioned.ready(first)
    reason = str(caught.value)
    assert f"{URI} at version {first} could not be fetched: " in reason
    assert f"{key} is gone" in reason
    assert f"{KEPT_DAYS} days" in reason
    assert "Start a new run" in reason


def test_a_push_keeps_the_versions_that_runs_may_need(place: Place) -> None:
    """Too old is neither the one that is pushed again, nor the one that it replaces."""
    first, second, third = (place.push(a=content) for content in "123")
    store = aws.S3DagFolder(place.clients, LOCATION)
    assert store.listed().versions.keys() == {first, second, third}
    (place.local / "a.py").write_text("1")
    files = dag_push.read(place.local)
    plan = replace(dag_push.plan(files, store), expired=[first, second, third])
    dag_push.push(files, plan, store, lambda _: None)
    assert store.listed().versions.keys() == {first, third}


@pytest.mark.parametrize("version", ["../../etc", "main", "0123456789abcdeF"])
def test_a_name_that_is_no_version_is_refused(versioned: Place, version: str) -> None:
    """A version is also the name of a folder, so it may not lead elsewhere."""
    versioned.push(a="1")
    with pytest.raises(DagFilesError, match="is no version that a push made"):
        versioned.ready(version)
    assert versioned.asked() == []


def test_a_bundle_of_a_version_is_not_refreshed(versioned: Place) -> None:
    """The reason says what a version is."""
    bundle = versioned.ready(versioned.push(a="1"))
    with pytest.raises(DagFilesError, match="does not change"):
        bundle.refresh()


def test_without_bucket_versions_a_run_has_no_version(
    place: Place, caplog: pytest.LogCaptureFixture
) -> None:
    """Airflow stores none, so each task runs the latest push; the log says so at each push."""
    place.push(a="1")
    bundle = place.ready()
    bundle.refresh()
    assert (bundle.supports_versioning, version_of(bundle)) == (False, None)
    (line,) = [each.getMessage() for each in caplog.records if each.levelname == "WARNING"]
    assert f"The bucket of {URI} keeps no versions" in line


def test_versions_begin_with_a_push_after_they_were_turned_on(place: Place) -> None:
    """That push uploads all files again, because the old ones have no version."""
    place.push(a="1", b="1")
    place.s3.put_bucket_versioning(Bucket=BUCKET, VersioningConfiguration={"Status": "Enabled"})
    first = place.push(a="2", b="1")
    place.push(a="3", b="3")
    assert version_of(place.ready()) != first
    assert tree(place.ready(first)) == {"a.py": "2", "b.py": "1"}


def test_versions_that_are_turned_off_leave_the_processor_alone(versioned: Place) -> None:
    """What a bundle says of itself stays while it lives: Airflow reads it twice in one refresh."""
    versioned.push(a="1")
    bundle = versioned.ready()
    versioned.s3.put_bucket_versioning(
        Bucket=BUCKET, VersioningConfiguration={"Status": "Suspended"}
    )
    second = versioned.push(a="2")
    bundle.refresh()
    assert (bundle.supports_versioning, version_of(bundle)) == (True, second)
    assert versioned.ready().supports_versioning is False


@pytest.mark.parametrize(
    ("uri", "says"),
    [
        (URI, "there is no manifest: `airflow lambda-executor dags push` uploads one"),
        ("s3://no-such-bucket/dags/", "NoSuchBucket"),
    ],
)
def test_what_is_not_there_is_a_reason(place: Place, uri: str, says: str) -> None:
    """The reason has the remedy or S3's own error; a later push is found."""
    bundle = place.bundle(uri=uri)
    with pytest.raises(DagFilesError, match=says):
        bundle.initialize()
    assert folders(bundle) == 0
    if uri == URI:
        place.push(a="1")
        bundle.initialize()
        assert tree(bundle) == {"a.py": "1"}


def test_a_uri_that_is_no_folder_is_refused(place: Place) -> None:
    """Airflow shows the error when it reads its list of bundles."""
    with pytest.raises(ConfigError, match="is no place for DAG files"):
        place.bundle(uri="bucket/dags")


@pytest.mark.parametrize(
    ("manifest", "says"),
    [
        (b"{", "is not a manifest"),
        (DagManifest({"../../etc/cron.d/a": StoredFile("e", 1, "")}).encode(), "leads out of the"),
        (DagManifest({".lambda-executor/a": StoredFile("e", 1, "")}).encode(), "is no DAG file"),
    ],
    ids=["damaged", "leads elsewhere", "a name of our own"],
)
def test_a_manifest_that_cannot_be_followed_is_a_reason(
    place: Place, manifest: bytes, says: str
) -> None:
    """Nothing is written, and the files of the last good manifest stay."""
    place.push(a="1")
    bundle = place.ready()
    place.s3.put_object(Bucket=BUCKET, Key=LOCATION.manifest_key, Body=manifest)
    with pytest.raises(DagFilesError, match=says):
        bundle.refresh()
    assert tree(bundle) == {"a.py": "1"}
    assert folders(bundle) == 1


def test_a_full_disk_is_a_reason_and_leaves_nothing(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The current tree stays, the half one is removed, and the next check may succeed."""
    place.push(a="1")
    bundle = place.ready()
    place.push(a="2", b="2")

    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    with monkeypatch.context() as patch:
        patch.setattr(shutil, "copyfileobj", full)
        with pytest.raises(DagFilesError, match=r"do not fit on .* more ephemeral storage"):
            bundle.refresh()
    assert tree(bundle) == {"a.py": "1"}
    assert folders(bundle) == 1
    bundle.refresh()
    assert tree(bundle) == {"a.py": "2", "b.py": "2"}


@pytest.mark.parametrize("breaks_at", ["rename", "symlink_to", "replace"])
def test_a_process_that_dies_during_the_switch_leaves_a_whole_tree(
    place: Place, monkeypatch: pytest.MonkeyPatch, breaks_at: str
) -> None:
    """At each step of the switch the link leads to the old tree; the next switch works."""
    place.push(a="1")
    place.ready()
    place.push(a="2")

    def dies(*_: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(Path, breaks_at, dies)
        with pytest.raises(KeyboardInterrupt):
            place.ready()
    assert tree(place.bundle()) == {"a.py": "1"}
    bundle = place.ready()
    assert tree(bundle) == {"a.py": "2"}
    assert folders(bundle) == 2


@pytest.mark.parametrize("damage", [Path.unlink, Path.touch], ids=["removed", "emptied"])
def test_a_tree_that_somebody_damaged_is_fetched_again(
    versioned: Place, damage: Callable[[Path], None]
) -> None:
    """A task may remove its own DAG file; the next one has it."""
    version = versioned.push(a="1", b="1")
    path = versioned.ready(version).path / "a.py"
    path.unlink()
    if damage is Path.touch:
        path.touch()
    assert tree(versioned.ready(version)) == {"a.py": "1", "b.py": "1"}


def test_processes_that_want_the_same_version_fetch_it_once(versioned: Place) -> None:
    """Airflow's lock lets one in at a time, and the others find the tree."""
    version = versioned.push(a="1", b="1")
    versioned.push(a="2")
    bundles = [versioned.bundle(version) for _ in range(6)]
    with ThreadPoolExecutor(len(bundles)) as pool:
        list(pool.map(S3ManifestBundle.initialize, bundles))
    assert versioned.asked() == ["GetObject"] * 3
    assert [tree(bundle) for bundle in bundles] == [{"a.py": "1", "b.py": "1"}] * 6


def test_a_task_cannot_easily_change_a_file_for_later_tasks(versioned: Place) -> None:
    """Files are shared between trees, so nobody may write to them."""
    version = versioned.push(a="1")
    for bundle in (versioned.ready(), versioned.ready(version)):
        assert (bundle.path / "a.py").stat().st_mode & 0o222 == 0


def test_airflows_cleanup_removes_old_versions_and_leaves_the_latest(
    versioned: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A worker's disk is bounded, and the files that the DAG processor reads stay."""
    config = [bundle_config(URI)]
    section = "AIRFLOW__DAG_PROCESSOR__"
    monkeypatch.setenv(f"{section}DAG_BUNDLE_CONFIG_LIST", json.dumps(config))
    monkeypatch.setenv(f"{section}STALE_BUNDLE_CLEANUP_MIN_VERSIONS", "0")
    monkeypatch.setenv(f"{section}STALE_BUNDLE_CLEANUP_AGE_THRESHOLD", "-1")
    version = versioned.push(a="1")
    latest, old = versioned.ready(), versioned.ready(version)
    airflow: Any = base  # Without annotations.
    with airflow.BundleVersionLock("dags-folder", version):
        airflow.BundleUsageTrackingManager().remove_stale_bundle_versions()
        assert old.path.exists()
    airflow.BundleUsageTrackingManager().remove_stale_bundle_versions()
    assert not old.path.exists()
    assert tree(latest) == {"a.py": "1"}


def test_airflow_makes_the_bundle_from_its_configuration(
    versioned: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nothing else of this package is needed: the class and a URI."""
    config = [bundle_config(URI)]  # The same for all tests: Airflow 3.4 reads it once.
    monkeypatch.setenv("AIRFLOW__DAG_PROCESSOR__DAG_BUNDLE_CONFIG_LIST", json.dumps(config))
    monkeypatch.setenv("AIRFLOW__CORE__LOAD_EXAMPLES", "False")
    version = versioned.push(a="1")
    manager = DagBundlesManager()  # type: ignore[no-untyped-call]
    (latest,) = manager.get_all_dag_bundles()
    latest.initialize()
    old = manager.get_bundle(BUNDLE_NAME, version)
    old.initialize()
    assert isinstance(latest, S3ManifestBundle)
    assert (version_of(latest), latest.supports_versioning) == (version, True)
    assert (old.path / "a.py").read_text() == "1"


def test_a_page_of_the_console_shows_the_version(place: Place) -> None:
    """The link in Airflow's UI leads to the manifest, which names all objects and versions."""
    bundle = place.bundle()
    folder = "https://console.aws.amazon.com/s3/buckets/bucket?region=us-east-1&prefix=dags/"
    manifest = folder.replace("buckets", "object") + ".lambda-executor/versions/ab.json"
    assert bundle.view_url() == folder
    assert bundle.view_url("ab") == manifest
    assert bundle.view_url_template().format(version="ab") == manifest


def test_a_denied_check_names_the_permissions(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    """S3 says 'denied' for a missing object, too, if the role may not list."""
    bundle = place.bundle()
    answer: Any = {"Error": {"Code": "AccessDenied", "Message": "Access Denied"}}

    def denied(**_: Any) -> None:
        raise ClientError(answer, "GetObject")

    monkeypatch.setattr(bundle._store._clients.s3, "get_object", denied)
    with pytest.raises(DagFilesError, match=r"Access Denied\. The role needs s3:GetObject and"):
        bundle.initialize()
