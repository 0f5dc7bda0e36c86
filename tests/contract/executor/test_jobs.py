"""Workloads as jobs of Batch and tasks of ECS, against AWS's own shapes (moto)."""

from __future__ import annotations

import uuid

import boto3
import pytest

from lambda_executor.aws import BatchJobs, Clients, EcsTasks, JobInspection, Session
from lambda_executor.contract.errors import RejectedError
from lambda_executor.contract.wire import InvocationId
from lambda_executor.core.ports import JobLauncher
from lambda_executor.core.targets import JobTarget, Service
from tests.support.job_account import BATCH, ECS, jobs

__all__ = ["jobs"]

pytestmark = pytest.mark.usefixtures("jobs")
EVENT = b'{"task_key": "x", "payload": {"bucket": "b", "key": "invocations/x", "bytes": 9}}'


def clients() -> Clients:
    """The clients of one executor."""
    return Clients(Session, region_name="eu-west-1", connections=1)


def launcher(target: JobTarget) -> JobLauncher:
    """The launcher of one scheduler."""
    return BatchJobs(clients()) if target.service is Service.BATCH else EcsTasks(clients())


def dispatch_id() -> InvocationId:
    """A fresh one."""
    return InvocationId(str(uuid.uuid4()))


def test_a_job_of_batch_is_found_again_by_another_scheduler() -> None:
    """By its name, the dispatch id; that of another invocation is not taken for it."""
    id, other = dispatch_id(), dispatch_id()
    launcher(BATCH).launch(BATCH, id, EVENT, {"timeout": {"attemptDurationSeconds": 60}})
    launcher(BATCH).launch(BATCH, other, EVENT, {})
    (summary,) = boto3.client("batch").list_jobs(
        jobQueue="jobs", filters=[{"name": "JOB_NAME", "values": [id]}]
    )["jobSummaryList"]
    (job,) = boto3.client("batch").describe_jobs(jobs=[summary["jobId"]])["jobs"]
    assert job["container"]["command"] == ["job", "--timeout-s", "60", EVENT.decode()]
    adopter = launcher(BATCH)
    ends = adopter.ended(BATCH, [id, dispatch_id()])
    assert list(ends) == [id]
    assert summary["jobId"] in ends[id]


def test_a_task_of_ecs_is_found_again_by_another_scheduler() -> None:
    """By who started it, whether it runs or has stopped."""
    id = dispatch_id()
    launcher(ECS).launch(ECS, id, EVENT, {"tags": [{"key": "team", "value": "x"}]})
    ecs = boto3.client("ecs")
    (arn,) = ecs.list_tasks(cluster="tasks", startedBy=id)["taskArns"]
    (task,) = ecs.describe_tasks(cluster="tasks", tasks=[arn])["tasks"]
    assert task["overrides"]["containerOverrides"] == [
        {"name": "workload", "command": ["job", EVENT.decode()]}
    ]
    adopter = launcher(ECS)
    assert adopter.ended(ECS, [id]) == {}
    assert adopter.stop(ECS, id, "its task was cleared")
    ends = launcher(ECS).ended(ECS, [id, dispatch_id()])
    assert list(ends) == [id]
    assert arn.rpartition("/")[2] in ends[id]


@pytest.mark.parametrize("target", [BATCH, ECS], ids=str)
def test_to_stop_what_has_ended_or_never_was_is_no_error(target: JobTarget) -> None:
    """A revoked workload may never have got to AWS, and may be revoked twice."""
    id, started = dispatch_id(), launcher(target)
    assert not started.stop(target, id, "revoked")
    started.launch(target, id, EVENT, {})
    for _ in range(2):
        assert started.stop(target, id, "revoked")


@pytest.mark.parametrize(
    ("target", "missing"),
    [
        (JobTarget("a", Service.BATCH, '{"jobQueue": "x", "jobDefinition": "task"}'), "x"),
        (JobTarget("a", Service.BATCH, '{"jobQueue": "jobs", "jobDefinition": "y"}'), "y"),
        (JobTarget("a", Service.ECS, '{"cluster": "x", "taskDefinition": "task"}'), "luster"),
        (JobTarget("a", Service.ECS, '{"cluster": "tasks", "taskDefinition": "y"}'), "'y'"),
    ],
)
def test_a_target_that_is_not_there_refuses_its_jobs(target: JobTarget, missing: str) -> None:
    """The reason is AWS's own."""
    with pytest.raises(RejectedError, match=missing):
        launcher(target).launch(target, dispatch_id(), EVENT, {})


def test_what_targets_name_is_read() -> None:
    """The doctor's facts, of what is there and of what is not."""
    inspection = JobInspection(clients())
    queue = inspection.job_queue("jobs")
    assert (queue.state, [e.name for e in queue.environments]) == ("ENABLED", ["environment"])
    assert inspection.job_definition("task").has_one_container
    assert inspection.job_definition("task:1").has_one_container
    assert inspection.cluster("tasks") == "ACTIVE"
    assert inspection.task_definition("task").containers == ("workload",)
    for target in (BATCH, ECS):
        inspection.look_for_jobs(target)
    for read in (inspection.job_queue, inspection.job_definition, inspection.cluster):
        with pytest.raises(RejectedError, match="'missing'") as error:
            read("missing")
        assert error.value.code == "NotFound"
    with pytest.raises(RejectedError):
        inspection.job_definition("task:2")
    with pytest.raises(RejectedError):
        inspection.task_definition("missing")
