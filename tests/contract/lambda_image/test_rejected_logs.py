"""What the Logs tab has of a task that the function rejected, by Airflow's REST API."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import uuid
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from lambda_executor.contract.wire import Invocation, InvocationId, Outcome, Result
from tests.contract.lambda_image.test_logs import Places, group_arn
from tests.support.handler_process import TOKEN, Server, task
from tests.support.local_aws import Server as LocalAws

#: Airflow's API server with one failed try of each task, which never had a host; writes its answers
#: to requests of their logs.
_READ = """
import json, os, sys, uuid
from datetime import datetime, timezone
from airflow.models import import_all_models
from airflow.models.base import Base
from airflow.settings import engine
from sqlalchemy import insert
import_all_models()
Base.metadata.create_all(engine)
from airflow.models.dag import DagModel
from airflow.models.dagbundle import DagBundleModel
from airflow.models.dagrun import DagRun
from airflow.models.taskinstance import TaskInstance
from airflow.models.tasklog import LogTemplate
now = datetime.now(tz=timezone.utc)
rows = {
    DagBundleModel: dict(name="dags-folder"),
    DagModel: dict(dag_id="handled", bundle_name="dags-folder", is_paused=False, fileloc="x",
                   max_active_tasks=1, max_active_runs=1, max_consecutive_failed_dag_runs=0,
                   has_task_concurrency_limits=False),
    LogTemplate: dict(id=1, elasticsearch_id="", created_at=now,
                      filename="{{ ti.run_id }}/{{ ti.task_id }}/attempt={{ try_number }}.log"),
    DagRun: dict(id=1, dag_id="handled", run_id="run", state="running", run_type="manual",
                 run_after=now, logical_date=now, log_template_id=1, queued_at=now,
                 span_status="ended", clear_number=0),
}
tasks = sys.argv[2:]
failed = [
    dict(id=uuid.uuid4(), dag_id="handled", run_id="run", task_id=task_id, map_index=-1,
         state="failed", try_number=1, hostname="", pool="default_pool", pool_slots=1)
    for task_id in tasks
]
with engine.begin() as connection:
    for model, values in rows.items():
        connection.execute(insert(model.__table__).values(values))
    connection.execute(insert(TaskInstance.__table__), failed)
from airflow.api_fastapi.app import create_app
from fastapi.testclient import TestClient
with TestClient(create_app(apps="core")) as client:
    token = client.get("/auth/token").json()["access_token"]
    headers = {"Authorization": f"Bearer {token}", "Accept": "application/json"}
    path = "/api/v2/dags/handled/dagRuns/run/taskInstances"
    found = {
        task_id: client.get(f"{path}/{task_id}/logs/1", headers=headers).json()["content"]
        for task_id in tasks
    }
with os.fdopen(int(sys.argv[1]), "w") as answer:
    json.dump(found, answer)
"""


#: What is wrong with each task, and what its reason says.
UNFIT: dict[str, tuple[dict[str, Any], str]] = {
    "no_file": ({"dag_rel_path": "gone.py"}, "gone.py is not in the function's image"),
    "no_bundle": ({"bundle_info": {"name": "other"}}, "no DAG bundle 'other'"),
    "no_workload": ({"bundle_info": 7}, "not a workload that Airflow"),
}


@dataclass
class Rejected:
    """Tasks that one function has rejected.

    Attributes:
        results: What the executor heard of each.
        shown: The lines that the Logs tab has of each, and of the task `never_sent`.
    """

    results: dict[str, Result]
    shown: dict[str, list[dict[str, Any]]]


@pytest.fixture(scope="module", params=["s3", "cloudwatch"])
def rejected(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory, local_aws: LocalAws
) -> Iterator[Rejected]:
    """Tasks that were rejected in every way, by a function of each kind."""
    server = Server()
    places = Places(tmp_path_factory.mktemp("logs"), local_aws, server)
    function = places.function(_remote_folder(request.param, local_aws))
    handler = function.handler
    results = {
        task_id: handler.run(_task(task_id, **changes))[0]
        for task_id, (changes, _) in UNFIT.items()
    }
    server.start_answer = (403, f"Invalid auth token: {TOKEN}")
    results["refused"] = handler.run(_task("refused"))[0]
    server.start_answer = None
    invocation = Invocation.for_workload(
        InvocationId("id-1"), json.dumps(_task("late")), queued_at_s=1.0, not_after_s=2.0
    )
    answer, _ = handler.invoke(json.loads(invocation.encode()))
    results["late"] = Result.decode(json.dumps(answer))
    home = tmp_path_factory.mktemp("airflow")
    yield Rejected(results, _shown(home, function.variables, [*results, "never_sent"]))
    handler.close()
    server.close()


def _remote_folder(kind: str, local_aws: LocalAws) -> str:
    name = f"rejected-{uuid.uuid4().hex[:12]}"
    if kind == "s3":
        local_aws.client("s3").create_bucket(Bucket=name)
        return f"s3://{name}/task-logs"
    local_aws.client("logs").create_log_group(logGroupName=name)
    return group_arn(name)


def _task(task_id: str, **changes: Any) -> dict[str, Any]:
    """A task whose log is where the API server looks for it."""
    return task(task_id, **changes) | {"log_path": f"run/{task_id}/attempt=1.log"}


def _shown(
    home: Path, variables: dict[str, str], task_ids: list[str]
) -> dict[str, list[dict[str, Any]]]:
    """The lines of each task's Logs tab; the API server has none of our code."""
    read, write = os.pipe()
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", _READ, str(write), *task_ids],
        env={
            **os.environ,
            **variables,
            "AIRFLOW_HOME": str(home),
            "AIRFLOW__CORE__SIMPLE_AUTH_MANAGER_ALL_ADMINS": "True",
            "AIRFLOW__DATABASE__SQL_ALCHEMY_CONN": f"sqlite:///{home / 'airflow.db'}",
        },
        pass_fds=[write],
        capture_output=True,
        check=False,
        text=True,
    )
    os.close(write)
    with os.fdopen(read) as answer:
        text = answer.read()
    assert text, done.stderr
    shown: dict[str, list[dict[str, Any]]] = json.loads(text)
    return shown


@pytest.mark.parametrize("task_id", [*UNFIT, "refused", "late"])
def test_the_logs_tab_has_the_reason_of_a_rejected_task(rejected: Rejected, task_id: str) -> None:
    """A try without a host has a log: one line of level error, which says what to do."""
    result, shown = rejected.results[task_id], rejected.shown[task_id]
    assert result.outcome is Outcome.REJECTED
    (line,) = [line for line in shown if line.get("level") == "error"]
    assert line["event"] == result.reason
    assert "hostname_callable" not in json.dumps(shown)


@pytest.mark.parametrize(("task_id", "says"), [(id, says) for id, (_, says) in UNFIT.items()])
def test_the_reason_says_what_is_unfit(rejected: Rejected, task_id: str, says: str) -> None:
    """Each unfit task has a reason of its own."""
    assert says in rejected.results[task_id].reason


def test_the_log_of_a_refused_start_has_no_token(rejected: Rejected) -> None:
    """The API server may repeat the token in its answer; the log does not."""
    assert "***" in rejected.results["refused"].reason
    assert TOKEN not in json.dumps(rejected.shown)


def test_without_a_log_airflow_has_only_its_own_guess(rejected: Rejected) -> None:
    """Of a task that no function saw: its reason is in the audit log, as the runbook says."""
    guesses = ("hostname_callable", "remote logging may be misconfigured")
    assert any(guess in json.dumps(rejected.shown["never_sent"]) for guess in guesses)
