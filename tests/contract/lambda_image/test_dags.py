"""Where a task's DAG file comes from: S3 and Airflow's own bundles, by the real handler."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from airflow.dag_processing.bundles.local import LocalDagBundle

from lambda_executor.contract import probe
from lambda_executor.contract.dag_manifest import bundle_config
from lambda_executor.contract.probe import BundleAnswer, ProbeAnswer
from lambda_executor.contract.wire import Outcome, Result
from lambda_image.runtime.bundles import DagBundles
from lambda_image.runtime.compat import WORKLOADS
from tests.support.dag_bucket import BUNDLES, Bucket
from tests.support.handler_process import ROOT, HandlerProcess, Server, task
from tests.support.local_aws import REGION
from tests.support.local_aws import Server as LocalAws

#: A DAG in a folder of its own, with a module beside it, which says what it is.
HELPER = "VERSION = {!r}"
DAG = """
from airflow.sdk import dag, task
from team.helper import VERSION

@dag(schedule=None)
def handled():
    @task
    def says():
        print("the DAG is", VERSION)
    says()

handled()
"""


def files(version: str) -> dict[str, str]:
    """One version of a DAG folder."""
    return {"team/handled.py": DAG, "team/helper.py": HELPER.format(version)}


def says(**changes: Any) -> dict[str, Any]:
    """The task of that DAG."""
    return task("says", **{"dag_rel_path": "team/handled.py", **changes})


def assert_ran(ended: tuple[Result, str], version: str) -> None:
    """Check that the task ran, in this version."""
    result, log = ended
    assert (result.outcome, result.return_code) == (Outcome.COMPLETED, 0), log
    assert f"the DAG is {version}" in log


def assert_rejected(handler: HandlerProcess, workload: dict[str, Any], says: str) -> None:
    """Check that Airflow heard of no start, and that the result has the reason."""
    result, _ = handler.run(workload)
    assert result.outcome is Outcome.REJECTED, result
    assert says in result.reason
    assert handler.server.calls == []


@pytest.fixture(scope="module")
def start(
    tmp_path_factory: pytest.TempPathFactory, local_aws: LocalAws
) -> Iterator[Callable[..., HandlerProcess]]:
    """Starts execution environments that have the embedded AWS's S3."""
    server, started = Server(), list[HandlerProcess]()

    def start(**variables: str) -> HandlerProcess:
        reach = {"AWS_ENDPOINT_URL_S3": local_aws.url, "AWS_REGION": REGION}
        reach["AWS_DEFAULT_REGION"] = REGION
        folder = tmp_path_factory.mktemp("environment")
        handler = HandlerProcess(folder, folder / "no-dags", server, reach | variables)
        started.append(handler)
        return handler

    yield start
    for handler in started:
        handler.close()
        assert list(handler.temporary.iterdir()) == []  # All that was fetched went with it.
    server.close()


@pytest.fixture(scope="module")
def bucket(local_aws: LocalAws) -> Bucket:
    """An empty bucket."""
    return Bucket(local_aws)


def test_a_warm_environment_runs_what_was_just_uploaded(
    start: Callable[..., HandlerProcess], bucket: Bucket
) -> None:
    """The task runs the new DAG file and module; without any, it fails."""
    place = bucket.uri
    handler = start(**bucket.variables)
    assert_rejected(handler, says(), f"the DAG files of {place} could not be fetched: there is no")
    bucket.push(files("one") | {"team/gone.py": DAG})
    assert_ran(handler.run(says()), "one")
    assert_ran(handler.run(says()), "one")
    bucket.push(files("two"))
    assert_ran(handler.run(says()), "two")
    assert len(list(handler.temporary.glob("airflow-*/dag_bundles/dags-folder/latest/*-*"))) == 2
    gone = says(dag_rel_path="team/gone.py")
    assert_rejected(handler, gone, f"team/gone.py is not in the DAG bundle 'dags-folder', {place}")
    assert_rejected(handler, says(dag_rel_path="x" * 300), "DAG bundle cannot be had: OSError")


def test_a_run_keeps_the_version_that_it_started_with(
    start: Callable[..., HandlerProcess], local_aws: LocalAws
) -> None:
    """Its later task runs the old files after a push; the disk keeps the last two versions.

    A version that is on the disk needs nothing of S3; one that is gone is a reason.
    """
    bucket = Bucket(local_aws, versioned=True)
    handler = start(**bucket.variables)

    def run(version: str) -> dict[str, Any]:
        return says(bundle_info={"name": "dags-folder", "version": version})

    first = bucket.push(files("one"))
    assert_ran(handler.run(run(first)), "one")
    second = bucket.push(files("two"))
    assert_ran(handler.run(run(first)), "one")
    assert_ran(handler.run(run(second)), "two")
    assert_ran(handler.run(says()), "two")
    bucket.empty()
    assert_ran(handler.run(run(first)), "one")
    third = "0123456789abcdef"
    gone = f"the DAG files of {bucket.uri} at version {third} could not be fetched: its manifest"
    assert_rejected(handler, run(third), gone)
    versions = handler.temporary.glob("airflow-*/dag_bundles/dags-folder/versions/*")
    assert {path.name for path in versions} == {first}


def test_a_cold_environment_has_the_files_before_its_first_task(
    start: Callable[..., HandlerProcess], local_aws: LocalAws
) -> None:
    """The init phase fetches them, so the first task needs no call to S3 for the latest version."""
    bucket = Bucket(local_aws, versioned=True)
    version = bucket.push(files("early"))
    handler = start(**bucket.variables)
    handler.invoke(json.loads(probe.event()))  # The answer comes after the init phase.
    bucket.empty()
    task = says(bundle_info={"name": "dags-folder", "version": version})
    assert_ran(handler.run(task), "early")


def test_the_variable_of_an_older_release_is_a_reason(
    start: Callable[..., HandlerProcess],
) -> None:
    """A task must not run the image's files instead of those in S3; the reason has the setting."""
    handler = start(AIRFLOW__LAMBDA_EXECUTOR__DAGS_S3_URI="s3://bucket/dags/")
    assert_rejected(
        handler, says(), f"{BUNDLES}={json.dumps([bundle_config('s3://bucket/dags/')])}"
    )


def compared(handler: HandlerProcess, **asked: list[str]) -> Mapping[str, BundleAnswer]:
    """What a probe learns about DAG files."""
    names = {name.replace("_", "-"): paths for name, paths in asked.items()}
    answer, _ = handler.invoke(json.loads(probe.event(names)))
    return ProbeAnswer.decode(json.dumps(answer).encode()).bundles or {}


def test_a_probe_compares_the_files_in_s3(
    start: Callable[..., HandlerProcess], local_aws: LocalAws
) -> None:
    """As they are now; if they cannot be fetched, the answer has the reason."""
    bucket = Bucket(local_aws)
    place = bucket.uri
    handler = start(**bucket.variables)
    (answer,) = compared(handler, dags_folder=["a.py"]).values()
    assert (answer.source, answer.missing) == (place, ())
    assert f"the DAG files of {place} could not be fetched" in answer.error
    bucket.push({"a.py": DAG})
    asked = ["a.py", "b.py", "x" * 300]
    assert compared(handler, dags_folder=asked) == {
        "dags-folder": BundleAnswer(place, ("b.py", "x" * 300))
    }
    bucket.push({"b.py": DAG})
    assert compared(handler, dags_folder=["a.py", "b.py"]) == {
        "dags-folder": BundleAnswer(place, ("a.py",))
    }


class Damaged(LocalDagBundle):
    """A bundle whose files fail in an unexpected way."""

    def prefetch(self) -> None:
        """Fail as a library can."""
        raise ValueError("negative seek value")

    initialize = prefetch


def test_what_nobody_has_met_ends_neither_the_init_phase_nor_a_task(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The log and the next task's reason have the error; nothing is started."""
    monkeypatch.setenv(BUNDLES, json.dumps([bundle("mine", f"{__name__}.Damaged")]))
    lines = list[Any]()
    bundles = DagBundles()
    bundles.warm_up(lambda *line, **fields: lines.append((line, fields)))
    assert lines[0][0] == ("warning", "no DAG files yet")
    assert lines[0][1] == {"bundle": "mine", "reason": "ValueError: negative seek value"}
    workload = WORKLOADS.validate_python(says(bundle_info={"name": "mine", "version": None}))
    assert "cannot be had: ValueError: negative" in (bundles.reason_against(workload) or "")


def test_a_bundle_of_a_wrong_shape_does_not_end_the_init_phase(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Each task reports it: a function that does not start could not."""
    monkeypatch.setenv(BUNDLES, json.dumps([{"name": "n", "classpath": LOCAL, "kwargs": ["x"]}]))
    DagBundles().warm_up(lambda *_, **__: None)


class Repository:
    """A git repository without any user configuration."""

    def __init__(self, path: Path) -> None:
        self.path = path
        path.mkdir()
        self._git("init", "--quiet", "--initial-branch", "main")

    def commit(self, version: str) -> str:
        """Commit one version; returns its name."""
        write(self.path, version)
        self._git("add", "--all")
        self._git("commit", "--quiet", "--message", version)
        return self._git("rev-parse", "HEAD")

    def _git(self, *words: str) -> str:
        environment = {
            "PATH": os.environ["PATH"],
            "GIT_CONFIG_GLOBAL": os.devnull,
            "GIT_CONFIG_SYSTEM": os.devnull,
            **{f"GIT_{who}_NAME": "n" for who in ("AUTHOR", "COMMITTER")},
            **{f"GIT_{who}_EMAIL": "e" for who in ("AUTHOR", "COMMITTER")},
        }
        command = ["git", "-C", str(self.path), *words]
        done = subprocess.run(command, env=environment, check=True, capture_output=True, text=True)
        return done.stdout.strip()


def write(folder: Path, version: str) -> None:
    """Write one version into a folder."""
    for name, body in files(version).items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(body)


@dataclass(frozen=True)
class Bundles:
    """One warm environment with a bundle of each kind, and the sources of their files."""

    handler: HandlerProcess
    bucket: Bucket
    repository: Repository
    folder: Path

    def says(self, bundle: str, version: str | None = None, **changes: Any) -> dict[str, Any]:
        """The task of that DAG."""
        return says(bundle_info={"name": bundle, "version": version}, **changes)

    def run(self, bundle: str, version: str | None = None) -> tuple[Result, str]:
        """Run the task."""
        return self.handler.run(self.says(bundle, version))


def bundle(name: str, kind: str, **kwargs: Any) -> dict[str, Any]:
    """The configuration of one bundle."""
    return {"name": name, "classpath": kind, "kwargs": kwargs}


S3 = "airflow.providers.amazon.aws.bundles.s3.S3DagBundle"
GIT = "airflow.providers.git.bundles.git.GitDagBundle"
LOCAL = "airflow.dag_processing.bundles.local.LocalDagBundle"


@pytest.fixture(scope="module")
def bundles(
    start: Callable[..., HandlerProcess],
    local_aws: LocalAws,
    tmp_path_factory: pytest.TempPathFactory,
) -> Bundles:
    """One warm environment for all tests."""
    folder = tmp_path_factory.mktemp("bundles")
    bucket, repository = Bucket(local_aws), Repository(folder / "repository")
    repository.commit("zero")
    url = str(repository.path)
    config = [
        bundle("s3", S3, bucket_name=bucket.name, prefix="dags"),
        bundle("s3-gone", S3, bucket_name="no-such-bucket-at-all"),
        bundle("git", GIT, repo_url=url, tracking_ref="main"),
        bundle("git-gone", GIT, repo_url="https://me:secret@127.0.0.1:1/r", tracking_ref="main"),
        bundle("git-ref-gone", GIT, repo_url=url, tracking_ref="gone"),
        bundle("git-known", GIT, tracking_ref="main", git_conn_id="known_here"),
        bundle("git-unknown", GIT, tracking_ref="main", git_conn_id="in_the_database"),
        bundle("local", LOCAL, path=str(folder / "local")),
    ]
    known = json.dumps({"conn_type": "git", "host": url})
    handler = start(**{BUNDLES: json.dumps(config), "AIRFLOW_CONN_KNOWN_HERE": known})
    return Bundles(handler, bucket, repository, folder)


def test_s3_dag_bundle_is_the_bucket_as_it_is_now(bundles: Bundles) -> None:
    """Files that changed since the last task are fetched before the next."""
    bundles.bucket.put(files("one"))
    assert_ran(bundles.run("s3"), "one")
    bundles.bucket.put(files("twice"))
    assert_ran(bundles.run("s3"), "twice")


def test_git_dag_bundle_runs_the_version_that_the_workload_names(bundles: Bundles) -> None:
    """An old run goes on with its own DAG; the disk keeps the last two versions."""
    first, second, third = (bundles.repository.commit(name) for name in ("one", "two", "three"))
    assert_ran(bundles.run("git", second), "two")
    assert_ran(bundles.run("git", first), "one")
    assert_ran(bundles.run("git", third), "three")
    versions = bundles.handler.temporary.glob("airflow-*/dag_bundles/git/versions/*")
    assert {path.name for path in versions} == {first, third}


def test_git_dag_bundle_without_a_version_is_the_branch_as_it_is_now(bundles: Bundles) -> None:
    """The next task runs the newest commit."""
    bundles.repository.commit("five")
    assert_ran(bundles.run("git"), "five")
    bundles.repository.commit("six")
    assert_ran(bundles.run("git"), "six")


#: What a task may do to the folder in which its environment keeps a repository: `here`, with the
#: parts that a run without a version uses, and the files of a version in `files`.
SPOILS = {
    "a lock": "(here / 'tracking_repo/.git/index.lock').touch()",
    "no head": "(here / 'tracking_repo/.git/HEAD').write_bytes(b'')",
    "no repository": "shutil.rmtree(here / 'tracking_repo/.git/objects')",
    "a file": "shutil.rmtree(here); here.touch()",
    "a folder of nobody's": "shutil.rmtree(here); here.mkdir(mode=0)",
    "a link": "shutil.rmtree(here); here.symlink_to('/proc/self/fdinfo')",
    "no DAG file": "shutil.rmtree(files / 'team')",
}


@pytest.mark.parametrize("spoil", SPOILS.values(), ids=SPOILS)
def test_a_folder_that_a_task_may_have_spoilt_is_fetched_anew(bundles: Bundles, spoil: str) -> None:
    """The next task runs, in both kinds of runs; a repository's errors name no file."""
    version = bundles.repository.commit(f"before {spoil}")
    for each in (version, None):
        assert_ran(bundles.run("git", each), "before")
    (here,) = bundles.handler.temporary.glob("airflow-*/dag_bundles/git")
    exec(spoil, {"shutil": shutil, "here": here, "files": here / "versions" / version})
    for each in (None, version):
        assert_ran(bundles.run("git", each), "before")


def test_what_is_outside_of_airflow_home_is_never_removed(
    start: Callable[..., HandlerProcess], tmp_path: Path
) -> None:
    """A folder for DAG files that a function was given may be shared with others."""
    repository = Repository(tmp_path / "repository")
    version, url = repository.commit("one"), str(repository.path)
    config = json.dumps([bundle("git", GIT, repo_url=url, tracking_ref="main")])
    storage = {"AIRFLOW__DAG_PROCESSOR__DAG_BUNDLE_STORAGE_PATH": str(tmp_path / "shared")}
    handler = start(**{BUNDLES: config, **storage})
    workload = says(bundle_info={"name": "git", "version": version})
    assert_ran(handler.run(workload), "one")
    (tmp_path / "shared/git/of-another").touch()
    shutil.rmtree(tmp_path / "shared/git/versions" / version / "team")
    assert_rejected(handler, workload, "handled.py is not in the DAG bundle")
    assert (tmp_path / "shared/git/of-another").exists()


def test_local_dag_bundle_is_a_folder(bundles: Bundles) -> None:
    """A local bundle is a folder of the image or a mounted one."""
    write(bundles.folder / "local", "local")
    assert_ran(bundles.run("local"), "local")


def test_a_bundle_may_need_a_connection_that_the_function_has(bundles: Bundles) -> None:
    """With such a connection the bundle is fetched before the start."""
    bundles.repository.commit("by connection")
    assert_ran(bundles.run("git-known"), "by connection")


def test_a_connection_that_only_airflow_knows_is_left_to_the_task(bundles: Bundles) -> None:
    """The Execution API gives connections only to tasks that have started."""
    result, _ = bundles.run("git-unknown")
    assert result.outcome is Outcome.COMPLETED
    paths = [path.rpartition("/execution/")[2] for _, path, _ in bundles.handler.server.calls]
    assert paths.index("connections/in_the_database") > 0
    assert paths[0].endswith("/run")


@pytest.mark.parametrize(
    ("name", "version", "reason"),
    [
        ("s3-gone", None, "'s3-gone' cannot be had: AirflowException: S3 bucket 'no-such"),
        ("git", "0" * 40, f"'git' at version {'0' * 40} cannot be had: "),
        ("git-gone", None, "'git-gone' cannot be had: RuntimeError: Error cloning repository"),
        ("git-ref-gone", None, "'git-ref-gone' cannot be had: GitCommandError: "),
        ("other", None, "the function knows no DAG bundle 'other', only git, git-gone"),
        ("other", None, "same [dag_processor] dag_bundle_config_list as the DAG processor"),
        ("example_dags", None, "give it the same [core] load_examples"),
        ("apache-airflow-providers-standard-example-dags", None, "the same [core] load_examples"),
    ],
)
def test_a_bundle_that_cannot_be_had_is_the_reason(
    bundles: Bundles, name: str, version: str | None, reason: str
) -> None:
    """The reason has the bundle's own error, without a password; Airflow hears of no start."""
    workload = bundles.says(name, version)
    assert_rejected(bundles.handler, workload, reason)
    result, _ = bundles.handler.run(workload)
    assert "secret" not in result.reason


def test_the_function_can_run_airflows_examples(
    start: Callable[..., HandlerProcess],
) -> None:
    """With the setting that the reason names an example runs, and no provider is complained of."""
    handler = start(AIRFLOW__CORE__LOAD_EXAMPLES="True")
    workload = task(
        "my_task",
        bundle_info={"name": "example_dags", "version": None},
        dag_rel_path="example_simplest_dag.py",
    )
    workload["ti"]["dag_id"] = "example_simplest_dag"
    result, log = handler.run(workload)
    assert (result.reason, result.outcome, result.return_code) == ("", Outcome.COMPLETED, 0)
    assert "success" in handler.server.told_states()
    assert "Traceback" not in log


def test_a_probe_fetches_no_bundle(bundles: Bundles) -> None:
    """A bundle that is fetched for each task is known by its name; a folder is compared."""
    answer = compared(bundles.handler, git_gone=["a.py"], local=["gone.py"], nobodys=["a.py"])
    assert answer == {
        "git-gone": BundleAnswer("bundle"),
        "local": BundleAnswer("image", ("gone.py",)),
    }


def test_a_file_that_a_bundle_does_not_have_is_the_reason(bundles: Bundles) -> None:
    """The reason names file and bundle."""
    bundles.bucket.put(files("one"))
    gone = {"dag_rel_path": "gone.py"}
    reason = "the DAG file gone.py is not in the DAG bundle 's3'"
    assert_rejected(bundles.handler, bundles.says("s3", **gone), reason)
    reason = "gone.py is not in the function's image"
    assert_rejected(bundles.handler, bundles.says("local", **gone), reason)


@pytest.mark.parametrize(
    ("kind", "reason"),
    [(GIT, "Bad git executable"), ("no_such_provider.Bundle", "No module named 'no_such_provider")],
)
def test_an_image_that_lacks_what_a_bundle_needs_says_so(
    start: Callable[..., HandlerProcess], tmp_path: Path, kind: str, reason: str
) -> None:
    """The init phase does not fail: then nobody could report it."""
    config = json.dumps([bundle("mine", kind)])
    handler = start(**{BUNDLES: config, "PATH": str(tmp_path)})
    workload = says(bundle_info={"name": "mine", "version": None})
    assert_rejected(handler, workload, "dag_bundle_config_list cannot be used in the function's")
    assert_rejected(handler, workload, reason)


#: What is installed: two good modules, one that fails, one that a forked process would miss.
INSTALLED = {
    # However busy the machine is that runs the tests.
    "sitecustomize": (
        "from lambda_image.dags import preload\npreload.ENOUGH_S = preload.TOO_LONG_S = 600"
    ),
    "good": "import os\nprint('said on import')\nPROCESS = os.getpid()",
    "broken": "raise ValueError('on import')",
    "threaded": (
        "import os, threading\nPROCESS = os.getpid()\n"
        "threading.Thread(target=threading.Event().wait, daemon=True).start()"
    ),
}
IMPORTING = """
import os
from airflow.sdk import dag, task
import good, own, threaded
try:
    import broken
except ValueError:
    pass

@dag(schedule=None)
def handled():
    @task
    def says():
        modules = {each.__name__: each.PROCESS == os.getpid() for each in (good, own, threaded)}
        print("imported by the task:", sorted(name for name in modules if modules[name]))
    says()

handled()
"""


def test_a_task_finds_what_its_dag_imports(
    start: Callable[..., HandlerProcess], tmp_path: Path
) -> None:
    """Installed modules were preloaded if that is safe; the user's own were not."""
    installed, dags = tmp_path / "site-packages", tmp_path / "dags"
    installed.mkdir()
    dags.mkdir()
    for name, body in INSTALLED.items():
        (installed / f"{name}.py").write_text(body)
    (dags / "handled.py").write_text(IMPORTING)
    (dags / "own.py").write_text("import os\nPROCESS = os.getpid()")
    path = f"{ROOT}:{ROOT / 'executor/src'}:{installed}"
    handler = start(PYTHONPATH=path, AIRFLOW__CORE__DAGS_FOLDER=str(dags))
    result, log = handler.run(task("says"))
    assert result.return_code == 0
    assert "imported by the task: ['own', 'threaded']" in log, log
    lines = [json.loads(line) for line in handler.output.read_text().splitlines()]
    told = [line for line in lines if line["event"].startswith("DAG import")]
    assert [(line["event"], line.get("module")) for line in told] == [
        ("DAG import given up: the init phase begins again without it", "threaded"),
        ("DAG imports not preloaded: tasks start slower", None),
        ("DAG imports preloaded", None),
    ]
    assert set(told[1]["modules"]) == {"threaded", "broken"}
