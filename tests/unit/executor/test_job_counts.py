"""What a service says about a target, by one call or two, and how it is told."""

from __future__ import annotations

from typing import Any

import pytest

from lambda_executor.aws import JobCounts, count_jobs
from lambda_executor.contract.errors import RejectedError
from lambda_executor.core.routing import Routes
from lambda_executor.core.targets import FunctionTarget, JobTarget, Service
from lambda_executor.ops.target_status import by_target, rows
from tests.support.job_service import JobService

BATCH = JobTarget("long", Service.BATCH, '{"jobQueue": "jobs"}')
ECS = JobTarget(
    "huge",
    Service.ECS,
    '{"cluster": "c", "taskDefinition": "arn:aws:ecs:r:1:task-definition/task:7"}',
)
VM = JobTarget(
    "vm", Service.MICROVM, '{"imageIdentifier": "arn:aws:lambda:r:1:microvm-image:task"}'
)


def jobs(count: int) -> list[dict[str, Any]]:
    """A list of jobs of Batch."""
    return [{"jobId": str(number), "jobName": "n"} for number in range(count)]


def test_the_jobs_of_a_queue_are_counted_by_state() -> None:
    """One call for those that wait, and one for those that run."""
    service = JobService()
    service.answer("ListJobs", jobSummaryList=jobs(3), nextToken="more")
    service.answer("ListJobs", jobSummaryList=jobs(2))
    found = count_jobs(service.clients(), BATCH)
    assert found == JobCounts("job queue jobs", {"RUNNABLE": 3, "RUNNING": 2}, is_more=True)
    asked = [{"jobQueue": "jobs", "jobStatus": state} for state in ("RUNNABLE", "RUNNING")]
    assert service.of("ListJobs") == asked


def test_the_tasks_of_a_family_are_counted_by_state() -> None:
    """Those of other families in the cluster are not."""
    service = JobService()
    service.answer("ListTasks", taskArns=["a", "b", "c"])
    states = ("PENDING", "RUNNING", "RUNNING")
    service.answer("DescribeTasks", tasks=[{"lastStatus": state} for state in states])
    found = count_jobs(service.clients(), ECS)
    where = "task in cluster c"
    assert found == JobCounts(where, {"PENDING": 1, "RUNNING": 2}, is_more=False)
    asked = {"cluster": "c", "family": "task", "desiredStatus": "RUNNING"}
    assert service.of("ListTasks") == [asked]


def test_no_tasks_are_not_described() -> None:
    """ECS refuses an empty list."""
    service = JobService()
    service.answer("ListTasks", taskArns=[])
    assert count_jobs(service.clients(), ECS).by_state == {}
    assert service.of("DescribeTasks") == []


def test_the_micro_vms_of_an_image_are_counted_by_state() -> None:
    """Without those that have ended, which Lambda lists for a while."""
    service = JobService()
    states = ("TERMINATED", "RUNNING", "PENDING", "RUNNING")
    service.answer("ListMicrovms", items=[{"state": state} for state in states])
    found = count_jobs(service.clients(), VM)
    where = "MicroVM image task"
    assert found == JobCounts(where, {"PENDING": 1, "RUNNING": 2}, is_more=False)


@pytest.mark.parametrize("target", [BATCH, ECS, VM], ids=str)
def test_a_service_that_does_not_answer_is_an_error(target: JobTarget) -> None:
    """The command shows it, and asks the others."""
    service = JobService()
    for operation in ("ListJobs", "ListTasks", "ListMicrovms"):
        service.refuse(operation, "AccessDeniedException", "denied", 403)
    with pytest.raises(RejectedError, match="denied"):
        count_jobs(service.clients(), target)


def test_a_person_reads_one_row_for_each_target() -> None:
    """What could not be asked for is left out of it."""
    answers: list[dict[str, Any]] = [
        {
            "target": "batch:long",
            "in_flight": {"queued": 2, "running": 1},
            "where": "job queue jobs",
            "in_service": {"RUNNABLE": 3},
            "is_more": True,
        },
        {"target": "ecs:huge", "in_flight": {}},
    ]
    assert list(rows(answers)) == [
        "batch:long: 2 queued, 1 running in Airflow; job queue jobs: 3 RUNNABLE, and more",
        "ecs:huge: nothing in Airflow",
    ]


def test_a_default_target_has_the_tasks_of_every_queue_that_leads_to_it() -> None:
    """Its name is no queue's. A task of a queue that leads nowhere any more counts for none."""
    routes = Routes(BATCH, jobs={"vm": VM})
    waiting = {"default": {"queued": 2}, "any": {"queued": 1, "running": 3}, "vm": {"running": 1}}
    assert by_target(routes, waiting) == {BATCH: {"queued": 3, "running": 3}, VM: {"running": 1}}
    strict = Routes(BATCH, by_queue={"small": FunctionTarget("fn")})
    assert by_target(strict, waiting) == {BATCH: {"queued": 2}}
