"""The operator's view of a running environment: live logs in the UI's API, and the commands."""

from __future__ import annotations

import subprocess
from typing import Any

import pytest

from demo import paths
from demo.installation.environment import Environment
from demo.outcome.airflow_api import Api
from tests.e2e.operator import command
from tests.support.airflow_rest import rest
from tests.support.waiting import until

pytestmark = pytest.mark.timeout(600)  # The first test waits for the environment.

TIMEOUT_S = 90.0


@pytest.fixture(scope="module", autouse=True)
def running_task(here: Environment) -> None:
    """One running task, which waits."""
    with Api(here.airflow.url) as api:
        api.wait_for_dags(["operation"], TIMEOUT_S)
        api.trigger("operation")
        api.unpause("operation")
    until(lambda: task(here)["state"] == "running" or None, "the task runs", TIMEOUT_S)


def task(here: Environment) -> dict[str, Any]:
    """The task as the API shows it."""
    with rest(here) as api:
        path = "/dags/operation/dagRuns/~/taskInstances"
        found: list[dict[str, Any]] = api.get(path).raise_for_status().json()["task_instances"]
    return found[0] if found else {"state": None}


def log(here: Environment) -> list[dict[str, Any]]:
    """The task's log as the UI shows it."""
    path = f"/dags/operation/dagRuns/{task(here)['dag_run_id']}/taskInstances/speak/logs/1"
    with rest(here) as api:
        answer = api.get(path, headers={"Accept": "application/json"}).raise_for_status()
    lines: list[dict[str, Any]] = answer.json()["content"]
    return lines


def test_the_log_of_a_running_task_comes_from_its_function(here: Environment) -> None:
    """The UI shows the running task's output and a line that only the function's log has."""
    events = until(
        lambda: (
            events if "said by the task" in (events := [x["event"] for x in log(here)]) else None
        ),
        "the log has the task's line",
        TIMEOUT_S,
    )
    group = here.outputs["LogGroupName"]
    assert any(event.startswith(f"CloudWatch log group {group}, log stream ") for event in events)
    assert "invocation started" in events
    assert task(here)["state"] == "running"


def test_status_shows_the_running_task(here: Environment) -> None:
    """In-flight invocations come from Airflow's database, depths from the queues."""
    code, told = command(here, "status")
    assert (code, told["reasons"], told["last_errors"]) == (0, [], [])
    assert [(each["state"], each["count"]) for each in told["in_flight"]] == [("running", 1)]
    assert [each["visible"] for each in told["queues"]] == [0, 0]


def test_the_doctor_finds_nothing_under_the_schedulers_own_role(here: Environment) -> None:
    """The scheduler's policy suffices for every check, including the probe of the real handler."""
    code, findings = command(here, "check")
    assert [finding for finding in findings if finding["verdict"] != "ok"] == []
    assert {"Execution API", "Airflow", "Python", "wire"} <= {f["subject"] for f in findings}
    assert code == 0


def test_the_task_succeeds_after_the_commands(here: Environment) -> None:
    """The commands did not disturb the task."""
    with rest(here) as api:
        body = {"key": "operation_may_end", "value": "yes"}
        api.post("/variables", json=body).raise_for_status()
    until(lambda: task(here)["state"] == "success" or None, "the task succeeds", TIMEOUT_S)


@pytest.mark.parametrize("name", ["api-server", "scheduler", "dag-processor", "triggerer"])
def test_a_program_of_airflow_has_the_schedulers_role(here: Environment, name: str) -> None:
    """Its AWS clients reach the embedded AWS, as those of deferred operators in the triggerer."""
    asks = "import boto3; print(boto3.client('sts').get_caller_identity()['Arn'])"
    done = subprocess.run(
        [paths.PYTHON, "-c", asks],
        env=dict(here.airflow.program(name).environment),
        stdout=subprocess.PIPE,
        text=True,
        timeout=TIMEOUT_S,
        check=False,
    )
    role = here.outputs["SchedulerRoleArn"].rpartition("/")[2]
    assert f":assumed-role/{role}/" in done.stdout
