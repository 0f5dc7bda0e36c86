"""One DAG over a function, a job of Batch and a task of ECS, with the real executor and image."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import pytest

from demo import paths
from demo.installation import environment
from demo.installation.environment import Environment
from demo.installation.outside_world import OutsideWorld
from demo.installation.project import Project
from demo.machine.embedded_aws import EmbeddedAws
from demo.outcome.airflow_api import RUN_ID, Api
from demo.screen import Screen
from tests.e2e import job_resources
from tests.e2e.conftest import OwnDag
from tests.e2e.operator import command
from tests.support.airflow_rest import rest, returned
from tests.support.waiting import until

pytestmark = pytest.mark.timeout(600)

HOME = paths.Home(paths.ROOT / "build" / "targets")
TIMEOUT_S = 150.0
NAME = "targets"
RUN = f"/dags/{NAME}/dagRuns/{RUN_ID}"
TARGETS = {
    "long": {"batch": {"jobQueue": NAME, "jobDefinition": NAME}},
    "huge": {
        "ecs": {
            "cluster": NAME,
            "taskDefinition": NAME,
            "launchType": "FARGATE",
            "networkConfiguration": {"awsvpcConfiguration": {"subnets": ["subnet-1"]}},
        }
    },
}
OFFERS = {
    "default": {"timeout_s": 900, "memory_mb": 2048},
    "huge": {"memory_mb": 8192},
    "long": {"memory_mb": 16384},
}
#: What the page `which-target.md` lists for the scheduler's role.
ACTIONS = (
    *("batch:SubmitJob", "batch:ListJobs", "batch:DescribeJobs", "batch:TerminateJob"),
    *("ecs:RunTask", "ecs:ListTasks", "ecs:DescribeTasks", "ecs:StopTask"),
    *("ecs:DescribeTaskDefinition", "iam:PassRole"),
    # The doctor's.
    *("batch:DescribeJobQueues", "batch:DescribeJobDefinitions", "ecs:DescribeClusters"),
    "batch:DescribeComputeEnvironments",
)


@dataclass(frozen=True, slots=True)
class JobsOfOthers(OutsideWorld):
    """A job queue and a cluster that exist already; their jobs run the stage's image."""

    def create(self, aws: EmbeddedAws) -> None:
        """Make them, with the image, the variables and the role of the stage's function."""
        (function,) = aws.client("lambda").list_functions()["Functions"]
        image = aws.client("lambda").get_function(FunctionName=function["FunctionName"])["Code"]
        variables = function["Environment"]["Variables"]
        container = {
            "image": image["ImageUri"],
            "environment": [{"name": n, "value": v} for n, v in variables.items()],
        }
        job_resources.make_batch(aws, NAME, function["Role"], container)
        job_resources.make_ecs(aws, NAME, function["Role"], container)


@pytest.fixture(scope="module")
def here() -> Iterator[Environment]:
    """The environment of `make local`, whose executor also knows two targets."""
    world = JobsOfOthers(
        airflow_environment={
            "AIRFLOW__LAMBDA_EXECUTOR__TARGETS": json.dumps(TARGETS),
            "AIRFLOW__LAMBDA_EXECUTOR__OFFERS": json.dumps(OFFERS),
        },
        airflow_statements=[{"Effect": "Allow", "Action": list(ACTIONS), "Resource": "*"}],
    )
    project = Project([OwnDag(NAME, (NAME,))], outside=world)
    with environment.running(HOME, project, Screen()) as made:
        yield made


@pytest.fixture(scope="module")
def tasks(here: Environment) -> Mapping[str, dict[str, Any]]:
    """The task instances by task, when the DAG run has ended."""
    with Api(here.airflow.url) as api:
        api.wait_for_dags([NAME], TIMEOUT_S)
        api.trigger(NAME)
        api.unpause(NAME)
    until(lambda: _variable(here, "targets_waits"), "a task waits to be interrupted", TIMEOUT_S)
    assert _interrupt(here)
    until(lambda: _get(here, RUN)["end_date"], "the run ends", TIMEOUT_S)
    found = _get(here, f"{RUN}/taskInstances")["task_instances"]
    return {instance["task_id"]: instance for instance in found}


def _get(here: Environment, path: str) -> dict[str, Any]:
    with rest(here) as api:
        answer: dict[str, Any] = api.get(path).json()
    return answer


def _variable(here: Environment, name: str) -> str | None:
    return _get(here, f"/variables/{name}").get("value")


def _interrupt(here: Environment) -> bool:
    """Let Spot take back the capacity of the job that is left; whether it was running."""
    batch = here.aws.client("batch")

    def left() -> dict[str, Any] | None:
        running = batch.list_jobs(jobQueue=NAME, jobStatus="RUNNING")["jobSummaryList"]
        return running[0] if len(running) == 1 else None

    job = until(left, "the other jobs end", TIMEOUT_S)
    return here.aws.interrupt(job["jobArn"])


@pytest.mark.parametrize(
    ("task_id", "target"),
    [
        ("function", "function"),
        ("batch", f"batch {NAME}"),
        ("ecs", "ecs"),
        ("chosen", f"batch {NAME}"),
        ("routed", "ecs"),
    ],
)
def test_a_task_runs_on_its_target(
    here: Environment, tasks: Mapping[str, dict[str, Any]], task_id: str, target: str
) -> None:
    """Its queue chooses the target, or its `executor_config`, or what it needs."""
    assert tasks[task_id]["state"] == "success"
    assert returned(here, NAME, task_id) == [target]


def test_the_reason_of_a_target_is_in_the_tasks_log_and_in_the_audit_log(
    here: Environment, tasks: Mapping[str, dict[str, Any]]
) -> None:
    """As the task policy made it, when the DAG file was read."""
    reason = "because the task needs memory_mb 4096, and default (880 s, 2048 MB) offers less"
    assert tasks["routed"]["queue"] == "huge"
    with rest(here) as api:
        log = api.get(f"{RUN}/taskInstances/routed/logs/1").text
        events = api.get("/eventLogs", params={"event": "lambda executor routing"}).json()
    assert reason in log
    (event,) = events["event_logs"]
    assert event["task_id"] == "routed"
    assert event["extra"].endswith(reason)


def test_a_task_that_spot_interrupted_succeeds_in_its_next_try(
    here: Environment, tasks: Mapping[str, dict[str, Any]]
) -> None:
    """The first try ends with the reason in its log, and Airflow tries again."""
    instance = tasks["interrupted"]
    assert (instance["state"], instance["try_number"]) == ("success", 2)
    with rest(here) as api:
        log = api.get(f"{RUN}/taskInstances/interrupted/logs/1").text
    assert "AWS asked this job to stop" in log


def test_each_job_ran_once(here: Environment, tasks: Mapping[str, dict[str, Any]]) -> None:
    """Nothing is left running, and nothing was started that no task needed."""
    assert tasks
    batch, ecs = here.aws.client("batch"), here.aws.client("ecs")
    ended = [
        job["status"]
        for status in ("SUCCEEDED", "FAILED", "RUNNING", "RUNNABLE")
        for job in batch.list_jobs(jobQueue=NAME, jobStatus=status)["jobSummaryList"]
    ]
    assert sorted(ended) == ["FAILED", "SUCCEEDED", "SUCCEEDED", "SUCCEEDED"]
    assert ecs.list_tasks(cluster=NAME)["taskArns"] == []
    assert len(ecs.list_tasks(cluster=NAME, desiredStatus="STOPPED")["taskArns"]) == 2


def test_the_doctor_finds_nothing_wrong_with_the_targets(here: Environment) -> None:
    """Under the scheduler's own role, with the actions that the page lists."""
    code, findings = command(here, "check")
    of_targets = {f["subject"] for f in findings if f["of"].startswith(("batch:", "ecs:"))}
    assert {"job queue", "job definition", "cluster", "task definition"} <= of_targets
    # That a job may wait as long as its token lives is advice.
    assert {f["subject"] for f in findings if f["verdict"] != "ok"} == {"longest wait"}
    assert code == 0
