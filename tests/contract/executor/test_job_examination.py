"""What the doctor says about targets, against AWS's own shapes (moto)."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import boto3
import pytest

from lambda_executor.aws import Clients, JobInspection, Session
from lambda_executor.contract.errors import ConfigError, RejectedError, ThrottledError
from lambda_executor.contract.token_lifetime import JWT_EXPIRATION_TIME, TASK_QUEUED_TIMEOUT
from lambda_executor.core.findings import Finding, Status
from lambda_executor.core.targets import JobTarget
from lambda_executor.ops.doctor.job_examination import JobExamination
from lambda_executor.setup.time_limits import TimeLimit
from tests.support.job_account import BATCH, ECS, jobs

__all__ = ["jobs"]

pytestmark = pytest.mark.usefixtures("jobs")


RAISED = TimeLimit(TASK_QUEUED_TIMEOUT, 7200)


def examined(target: JobTarget, limit: Callable[[], TimeLimit] = lambda: RAISED) -> list[Finding]:
    """The findings about a target."""
    clients = Clients(Session, region_name="eu-west-1", connections=1)
    return list(JobExamination([target], clients, limit).findings())


def changed(target: JobTarget, **parameters: str) -> JobTarget:
    """A target that names something else."""
    return replace(target, request=json.dumps({**json.loads(target.request), **parameters}))


@pytest.mark.parametrize(
    ("target", "subjects"),
    [
        (BATCH, ["job queue", "job definition", "jobs", "longest wait"]),
        (ECS, ["cluster", "task definition", "jobs", "longest wait"]),
    ],
)
def test_a_target_that_can_be_used_is_ok(target: JobTarget, subjects: list[str]) -> None:
    """Each row names the target, but for the one about all of them."""
    *findings, wait = examined(target)
    assert [finding.subject for finding in (*findings, wait)] == subjects
    assert {(f.status, f.of) for f in findings} == {(Status.OK, str(target))}
    assert (wait.status, wait.of) == (Status.OK, "")


def disabled_queue() -> None:
    """Somebody stops the intake."""
    boto3.client("batch").update_job_queue(jobQueue="jobs", state="DISABLED")


def disabled_environment() -> None:
    """Somebody takes the machines away."""
    boto3.client("batch").update_compute_environment(
        computeEnvironment="environment", state="DISABLED"
    )


def no_definition() -> None:
    """The last revision of the job definition is gone."""
    batch = boto3.client("batch")
    (found,) = batch.describe_job_definitions()["jobDefinitions"]
    batch.deregister_job_definition(jobDefinition=found["jobDefinitionArn"])


def several_containers() -> None:
    """A newer revision of the task definition has a sidecar."""
    containers: Any = [{"name": n, "image": "i", "memory": 9} for n in ("workload", "side")]
    boto3.client("ecs").register_task_definition(family="task", containerDefinitions=containers)


def no_network() -> None:
    """A newer revision of the task definition has a network interface of its own."""
    containers: Any = [{"name": "workload", "image": "i", "memory": 9}]
    boto3.client("ecs").register_task_definition(
        family="task", containerDefinitions=containers, networkMode="awsvpc"
    )


def nothing() -> None:
    """Everything is as it was."""


@pytest.mark.parametrize(
    ("target", "break_", "subject", "part"),
    [
        (BATCH, disabled_queue, "job queue", "jobs is DISABLED: it takes no jobs"),
        (BATCH, disabled_environment, "job queue", "environment is DISABLED"),
        (BATCH, no_definition, "job definition", "no active job definition 'task'"),
        (changed(BATCH, jobQueue="other"), nothing, "job queue", "there is no job queue 'other'"),
        (changed(ECS, cluster="other"), nothing, "cluster", "there is no cluster 'other'"),
        (changed(ECS, taskDefinition="other"), nothing, "task definition", "asked in eu-west-1"),
        (ECS, several_containers, "task definition", "has the containers workload, side"),
        (replace(ECS, container="x"), nothing, "task definition", "has no container 'x'; it has w"),
        (ECS, no_network, "task definition", "has no networkConfiguration"),
    ],
)
def test_a_target_that_cannot_be_used_has_one_problem(
    target: JobTarget, break_: Callable[[], None], subject: str, part: str
) -> None:
    """It comes with a fix; what needs the queue or the cluster is not checked without it."""
    break_()
    (found,) = [finding for finding in examined(target) if finding.status is not Status.OK]
    assert (found.subject, found.status) == (subject, Status.PROBLEM)
    assert part in found.detail
    assert found.fix


DENIED = RejectedError("not authorized to perform: batch:x", "AccessDeniedException")


@pytest.mark.parametrize(
    ("method", "target", "status", "permission"),
    [
        ("job_queue", BATCH, Status.UNKNOWN, "batch:DescribeJobQueues and batch:DescribeComputeEn"),
        ("job_definition", BATCH, Status.UNKNOWN, "batch:DescribeJobDefinitions"),
        ("cluster", ECS, Status.UNKNOWN, "ecs:DescribeClusters"),
        ("task_definition", ECS, Status.UNKNOWN, "ecs:DescribeTaskDefinition"),
        ("look_for_jobs", BATCH, Status.PROBLEM, "batch:ListJobs"),
        ("look_for_jobs", ECS, Status.PROBLEM, "ecs:ListTasks"),
    ],
)
def test_a_missing_permission_is_named(
    monkeypatch: pytest.MonkeyPatch, method: str, target: JobTarget, status: Status, permission: str
) -> None:
    """It is a problem where the executor needs it, too."""

    def denied(*_: object) -> None:
        raise DENIED

    monkeypatch.setattr(JobInspection, method, denied)
    (found,) = [finding for finding in examined(target) if finding.status is not Status.OK]
    assert found.status is status
    assert permission in found.fix


def test_a_service_that_is_busy_is_asked_again_later(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing is wrong, as far as is known."""

    def throttled(*_: object) -> None:
        raise ThrottledError("Rate exceeded")

    monkeypatch.setattr(JobInspection, "look_for_jobs", throttled)
    found = {finding.subject: finding.status for finding in examined(ECS)}
    assert found["jobs"] is Status.UNKNOWN


def test_the_longest_wait_is_shown_once_somebody_has_set_it() -> None:
    """The default is advice, because the doctor does not know how long jobs wait."""
    assert "7200 s to start ([scheduler] task_queued_timeout)" in examined(BATCH)[-1].detail
    found = examined(BATCH, lambda: TimeLimit(JWT_EXPIRATION_TIME, 600))[-1]
    assert found.status is Status.UNKNOWN
    assert found.command == "AIRFLOW__EXECUTION_API__JWT_EXPIRATION_TIME=<seconds>"
    for option in ("[scheduler] task_queued_timeout", "[execution_api] jwt_expiration_time"):
        assert option in found.fix


def test_a_limit_that_is_no_number_is_a_problem() -> None:
    """The other checks run all the same."""

    def limit() -> TimeLimit:
        raise ConfigError("[scheduler] task_queued_timeout is 'x'")

    *others, found = examined(BATCH, limit)
    assert {finding.status for finding in others} == {Status.OK}
    assert (found.subject, found.status) == ("longest wait", Status.PROBLEM)
