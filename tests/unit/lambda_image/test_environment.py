"""The execution environment's name, and its state between workloads."""

from __future__ import annotations

import os
import signal
import stat
import tempfile
from pathlib import Path

import pytest

from lambda_executor.contract.errors import ConfigError
from lambda_image.machine import environment


def test_environments_of_one_function_have_names_of_their_own(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Two environments differ in their names: to Airflow the same name means the same start."""
    monkeypatch.setenv("AWS_LAMBDA_FUNCTION_NAME", "airflow")
    names = []
    for id_ in ("0a1b", "2c3d"):
        monkeypatch.setenv("AWS_LAMBDA_LOG_STREAM_NAME", f"2026/01/01/[$LATEST]{id_}")
        names.append(environment.hostname())
    assert names == ["airflow-0a1b", "airflow-2c3d"]


def test_an_environment_without_a_log_stream_has_a_stable_name(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The name stays the same from the start of a task to its heartbeats."""
    monkeypatch.delenv("AWS_LAMBDA_LOG_STREAM_NAME", raising=False)
    name = environment.hostname()
    assert name == environment.hostname()
    assert len(name) > len("lambda-") + 30


def test_a_copied_environment_gets_a_name_of_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    """Two copies of one snapshot would otherwise have the same."""
    monkeypatch.delenv("AWS_LAMBDA_LOG_STREAM_NAME", raising=False)
    name = environment.hostname()
    environment.renew()
    assert environment.hostname() != name


def test_nothing_of_a_workload_stays_in_the_process(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """Variables, directory and signal handlers are restored, even after an error."""
    monkeypatch.setenv("KEPT", "before")
    directory, handler = Path.cwd(), signal.getsignal(signal.SIGTERM)

    def workload() -> None:
        os.environ["KEPT"] = "after"
        os.environ["AIRFLOW_CONN_SECRET"] = "x"
        os.chdir(tmp_path)
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError), environment.restored():
        workload()
    assert os.environ["KEPT"] == "before"
    assert "AIRFLOW_CONN_SECRET" not in os.environ
    assert Path.cwd() == directory
    assert signal.getsignal(signal.SIGTERM) is handler


def test_the_age_of_the_process_grows() -> None:
    """The init phase is measured from the start of the process, not of this module."""
    age_ms = environment.process_age_ms()
    assert 0 < age_ms <= environment.process_age_ms()


def test_what_a_killed_process_left_is_removed(tmp_path: Path) -> None:
    """Folders of dead processes are removed, never those of running ones or of others."""
    no_pid = int(Path("/proc/sys/kernel/pid_max").read_text()) + 1
    kept = [f"airflow-{os.getppid()}-a", "airflow-lambda-b", "airflow-c", "other"]
    for name in (f"airflow-{no_pid}-a", f"airflow-{os.getpid()}-a", *kept):
        (tmp_path / name / "dag_bundles").mkdir(parents=True)
    environment.remove_homes_of_the_dead(tmp_path)
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted(kept)


def test_a_folder_is_certainly_ours_only_in_lambda_and_only_with_nothing_mounted_in_it(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """Anywhere else it may be the machine's, with other programs' files."""
    mounts = [
        Path(line.split()[4]) for line in Path("/proc/self/mountinfo").read_text().splitlines()
    ]
    alone = next(
        path for path in mounts if path.is_dir() and not any(path in p.parents for p in mounts)
    )
    monkeypatch.delenv("AWS_LAMBDA_INITIALIZATION_TYPE", raising=False)
    assert not environment.owns(alone)
    monkeypatch.setenv("AWS_LAMBDA_INITIALIZATION_TYPE", "on-demand")
    assert environment.owns(alone)
    assert not environment.owns(Path("/"))
    assert not environment.owns(tmp_path)


@pytest.fixture
def variables(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> dict[str, str]:
    """The variables of a process whose temporary folder is `tmp_path`."""
    variables = {"AIRFLOW_HOME": str(tmp_path / "airflow")}
    monkeypatch.setattr(os, "environ", variables)
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    monkeypatch.setattr(environment, "_private_folders", [])
    return variables


def test_without_a_home_there_is_a_private_one(variables: dict[str, str], tmp_path: Path) -> None:
    """Lambda sets none; nobody else reads it, and it is removed with the process that made it."""
    made = environment.prepare()
    home = Path(variables["HOME"])
    assert made == (home,)
    assert home.parent == tmp_path
    assert stat.S_IMODE(home.stat().st_mode) == stat.S_IRWXU
    environment.remove_homes_of_the_dead(tmp_path)
    assert not home.exists()


def test_a_home_that_can_be_written_to_stays(variables: dict[str, str], tmp_path: Path) -> None:
    """Whoever sets one for the function means it."""
    variables["HOME"] = str(tmp_path)
    assert environment.prepare() == ()
    assert variables["HOME"] == str(tmp_path)


@pytest.mark.parametrize("home", ["", "no-such-folder", "/proc/self/status"])
def test_a_home_that_cannot_be_written_to_is_replaced(variables: dict[str, str], home: str) -> None:
    """The user's home in the image, for example: Lambda's file system is read-only."""
    variables["HOME"] = home
    environment.prepare()
    assert variables["HOME"] != home
    assert os.access(variables["HOME"], os.W_OK)


@pytest.mark.parametrize(
    ("remote_logging", "is_chosen"),
    [("True", True), ("t", True), ("1 # on", True), ("False", False), (None, False)],
)
def test_task_logs_are_uploaded_where_airflow_is_told_to(
    remote_logging: str | None,
    is_chosen: bool,
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
) -> None:
    """The uploader is chosen for every spelling that Airflow takes as true."""
    homes = {"AIRFLOW_HOME": str(tmp_path), "HOME": str(tmp_path)}
    airflow = {**homes, "AIRFLOW__LOGGING__REMOTE_BASE_LOG_FOLDER": "s3://b"}
    if remote_logging is not None:
        airflow["AIRFLOW__LOGGING__REMOTE_LOGGING"] = remote_logging
    monkeypatch.setattr(os, "environ", airflow)
    environment.prepare()
    assert ("AIRFLOW__LOGGING__LOGGING_CONFIG_CLASS" in airflow) is is_chosen


def test_remote_logging_that_is_neither_is_named(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """A value that is not a boolean fails the init phase with the allowed values."""
    variable = "AIRFLOW__LOGGING__REMOTE_LOGGING"
    homes = {"AIRFLOW_HOME": str(tmp_path), "HOME": str(tmp_path)}
    monkeypatch.setattr(os, "environ", {**homes, variable: "maybe"})
    with pytest.raises(ConfigError, match=f"{variable} is 'maybe': set it to True or False"):
        environment.prepare()
