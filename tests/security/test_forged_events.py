"""Events of somebody who may invoke the function and has no token that Airflow signed."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from lambda_executor.contract.wire import Outcome
from tests.support.handler_process import HandlerProcess, running, task

DAGS = """
from airflow.sdk import dag, task

@dag(schedule=None)
def handled():
    @task
    def runs():
        print("it ran")
    runs()

handled()
"""


@pytest.fixture(scope="module")
def environment(tmp_path_factory: pytest.TempPathFactory) -> Iterator[HandlerProcess]:
    """An environment whose API server refuses every start, as it does without its signature."""
    with running(tmp_path_factory.mktemp("environment"), DAGS) as process:
        process.server.start_answer = (403, "Invalid auth token")
        yield process


def victim_of(environment: HandlerProcess) -> Path:
    """A file beside the folders of the environment that its user may write to."""
    return environment.temporary.parent / "victim"


PATHS: dict[str, dict[str, Any]] = {
    "a log beside the folder of logs": {"log_path": "../../../victim"},
    "a log that seems to be below it": {"log_path": "run/../../../../victim"},
    "a log anywhere": {"log_path": "{victim}"},
    "a log with a null byte": {"log_path": "run/x\0y"},
    "a DAG file beside the bundle": {"dag_rel_path": "../victim"},
    "a DAG file anywhere": {"dag_rel_path": "{victim}"},
    "a version that is a path": {"bundle_info": {"name": "dags-folder", "version": "../../x"}},
    "a version that is an option": {"bundle_info": {"name": "dags-folder", "version": "--exec=x"}},
}


@pytest.mark.parametrize("name", PATHS)
def test_a_forged_path_leads_nowhere(environment: HandlerProcess, name: str) -> None:
    """It is refused before anything is written, removed or asked; the file beside is unchanged."""
    victim = victim_of(environment)
    victim.write_text("as it was")
    changes = json.loads(json.dumps(PATHS[name]).replace("{victim}", str(victim)))
    result, log = environment.run(task("runs", **changes))
    assert result.outcome is Outcome.REJECTED
    why = "which is no version" if "option" in name else "which leads out of its folder"
    assert why in result.reason, result.reason
    assert environment.server.calls == []
    assert victim.read_text() == "as it was"
    assert "it ran" not in log


def test_the_log_of_a_task_that_is_refused_has_the_reason(tmp_path: Path) -> None:
    """If its own path may be written to: Airflow's UI would say that there is no log."""
    logs = tmp_path / "logs"
    variables = {"AIRFLOW__LOGGING__BASE_LOG_FOLDER": str(logs)}
    with running(tmp_path, DAGS, variables) as process:
        workload = task("runs", dag_rel_path="../victim")
        result, _ = process.run(workload)
    assert result.reason in (logs / workload["log_path"]).read_text()


def test_without_airflows_signature_no_dag_code_runs(environment: HandlerProcess) -> None:
    """Airflow is asked for the start, and refuses it."""
    result, log = environment.run(task("runs", token="forged"))
    assert result.outcome is Outcome.REJECTED
    assert "Invalid auth token" in result.reason
    assert [path.rpartition("/")[2] for _, path, _ in environment.server.calls] == ["run"]
    assert "it ran" not in log
