"""What Batch, ECS and Lambda MicroVMs say about the jobs of one invocation."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from lambda_executor.aws import batch_jobs, ecs_tasks, job_ends
from lambda_executor.aws.clients import Clients
from lambda_executor.aws.micro_vm_ids import MicroVmIds
from lambda_executor.contract.wire import InvocationId
from lambda_executor.core.targets import JobTarget, Service


@dataclass(frozen=True, slots=True)
class JobWord:
    """What a service says about one job.

    Attributes:
        aws_id: AWS's id of the job.
        state: Its state, in AWS's spelling.
        reason: Why it is in that state; empty if AWS does not say.
        made_at: When it was made.
        started_at: When its container or MicroVM started.
        ended_at: When it ended.
        end: Why it ended, in words for a person; empty if it has not ended.
    """

    aws_id: str
    state: str
    reason: str = ""
    made_at: datetime | None = None
    started_at: datetime | None = None
    ended_at: datetime | None = None
    end: str = ""


def ask_about(
    clients: Clients, target: JobTarget, id: InvocationId, bucket: str | None
) -> list[JobWord]:
    """Ask a service for the jobs of an invocation; one that it does not know is left out.

    Args:
        clients: The clients.
        target: What the invocation was sent to.
        id: The dispatch id.
        bucket: The payload bucket, which has the ids of MicroVMs.

    Raises:
        AwsError: The service does not answer, or refuses the question.
    """
    if target.service is Service.BATCH:
        return _of_batch(clients, target, id)
    if target.service is Service.ECS:
        return _of_ecs(clients, target, id)
    return _of_micro_vms(clients, id, bucket) if bucket else []


def _of_batch(clients: Clients, target: JobTarget, id: InvocationId) -> list[JobWord]:
    if not (found := batch_jobs.find(clients, target, id)):
        return []
    with clients.errors():
        jobs = clients.batch.describe_jobs(jobs=found)["jobs"]
    return [
        JobWord(
            job["jobId"],
            job["status"],
            job.get("statusReason", ""),
            _of_ms(job.get("createdAt")),
            _of_ms(job.get("startedAt")),
            _of_ms(job.get("stoppedAt")),
            job_ends.of_batch_job(job) if job["status"] in batch_jobs.ENDED else "",
        )
        for job in jobs
    ]


def _of_ecs(clients: Clients, target: JobTarget, id: InvocationId) -> list[JobWord]:
    if not (found := ecs_tasks.find(clients, target, id)):
        return []
    with clients.errors():
        answer = clients.ecs.describe_tasks(cluster=ecs_tasks.cluster_of(target), tasks=found)
    return [
        JobWord(
            task["taskArn"],
            task["lastStatus"],
            task.get("stoppedReason", ""),
            task.get("createdAt"),
            task.get("startedAt"),
            task.get("stoppedAt"),
            job_ends.of_ecs_task(task) if task["lastStatus"] == ecs_tasks.ENDED else "",
        )
        for task in answer["tasks"]
    ]


def _of_micro_vms(clients: Clients, id: InvocationId, bucket: str) -> list[JobWord]:
    words = []
    for micro_vm_id in MicroVmIds(clients, bucket).find(id):
        with clients.errors():
            found: Mapping[str, Any] = clients.micro_vms.get_microvm(microvmIdentifier=micro_vm_id)
        words.append(
            JobWord(
                found["microvmId"],
                found["state"],
                found.get("stateReason", ""),
                None,
                found.get("startedAt"),
                found.get("terminatedAt"),
                job_ends.of_micro_vm(found) if found["state"] == "TERMINATED" else "",
            )
        )
    return words


def _of_ms(since_epoch_ms: int | None) -> datetime | None:
    return None if since_epoch_ms is None else datetime.fromtimestamp(since_epoch_ms / 1000, UTC)
