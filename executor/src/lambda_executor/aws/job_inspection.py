"""Reads what the targets of Batch and ECS name. It starts no job."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from lambda_executor.aws.clients import Clients
from lambda_executor.contract.errors import RejectedError
from lambda_executor.core.targets import JobTarget, Service

#: The code of the error for what is not there; Batch and ECS answer without it, and with no error.
NOT_FOUND = "NotFound"
#: A job's and a task's id that AWS never gives.
_NO_ID = "00000000-0000-0000-0000-000000000000"


@dataclass(frozen=True, slots=True)
class ComputeEnvironmentFacts:
    """One compute environment of a job queue."""

    name: str
    state: str  # `ENABLED` or `DISABLED`.
    status: str  # `VALID`, `INVALID`, `CREATING`, `UPDATING`, `DELETING` or `DELETED`.
    status_reason: str = ""


@dataclass(frozen=True, slots=True)
class JobQueueFacts:
    """One job queue."""

    state: str  # `ENABLED` or `DISABLED`.
    status: str  # As that of a compute environment.
    status_reason: str
    environments: tuple[ComputeEnvironmentFacts, ...]


@dataclass(frozen=True, slots=True)
class JobDefinitionFacts:
    """One active job definition."""

    has_one_container: bool  # And not several, or several nodes, or pods.


@dataclass(frozen=True, slots=True)
class TaskDefinitionFacts:
    """One revision of a task definition."""

    status: str  # `ACTIVE`, `INACTIVE` or `DELETE_IN_PROGRESS`.
    containers: tuple[str, ...]
    network_mode: str  # `awsvpc` needs a network configuration.


class JobInspection:
    """Reads from Batch and ECS. Every method raises `AwsError` when AWS does not answer."""

    def __init__(self, clients: Clients) -> None:
        self._clients = clients

    def job_queue(self, name: str) -> JobQueueFacts:
        """Read a job queue and its compute environments."""
        with self._clients.errors():
            queues = self._clients.batch.describe_job_queues(jobQueues=[name])["jobQueues"]
        found = _first(queues, "job queue", name)
        order = [one["computeEnvironment"] for one in found["computeEnvironmentOrder"]]
        return JobQueueFacts(
            found["state"],
            found.get("status", "VALID"),
            found.get("statusReason", ""),
            self._compute_environments(order),
        )

    def job_definition(self, name: str) -> JobDefinitionFacts:
        """Read an active job definition; a name, or an ARN, may have a revision."""
        short, _, revision = name.rpartition("/")[2].partition(":")
        with self._clients.errors():
            pages = self._clients.batch.get_paginator("describe_job_definitions").paginate(
                jobDefinitionName=short, status="ACTIVE"
            )
            found = [
                one
                for page in pages
                for one in page["jobDefinitions"]
                if revision in ("", str(one["revision"]))
            ]
        first = _first(found, "active job definition", name)
        return JobDefinitionFacts(bool(first.get("containerProperties")))

    def cluster(self, name: str) -> str:
        """Read the status of a cluster."""
        with self._clients.errors():
            clusters = self._clients.ecs.describe_clusters(clusters=[name])["clusters"]
        return str(_first(clusters, "cluster", name)["status"])

    def task_definition(self, name: str) -> TaskDefinitionFacts:
        """Read the newest active revision of a task definition, or the one named."""
        with self._clients.errors():
            answer = self._clients.ecs.describe_task_definition(taskDefinition=name)
        found = answer["taskDefinition"]
        return TaskDefinitionFacts(
            found.get("status", "ACTIVE"),
            tuple(container["name"] for container in found["containerDefinitions"]),
            found.get("networkMode", "bridge"),
        )

    def look_for_jobs(self, target: JobTarget) -> None:
        """Ask what a launcher asks about the jobs that it looks for, to see whether it may."""
        request = json.loads(target.request)
        with self._clients.errors():
            if target.service is Service.BATCH:
                self._clients.batch.list_jobs(
                    jobQueue=request["jobQueue"],
                    filters=[{"name": "JOB_NAME", "values": [_NO_ID]}],
                )
                self._clients.batch.describe_jobs(jobs=[_NO_ID])
            else:
                cluster = request["cluster"]
                self._clients.ecs.list_tasks(cluster=cluster, startedBy=_NO_ID)
                self._clients.ecs.describe_tasks(cluster=cluster, tasks=[_NO_ID.replace("-", "")])

    def _compute_environments(self, names: Sequence[str]) -> tuple[ComputeEnvironmentFacts, ...]:
        with self._clients.errors():
            answer = self._clients.batch.describe_compute_environments(computeEnvironments=names)
        return tuple(
            ComputeEnvironmentFacts(
                found["computeEnvironmentName"],
                found.get("state", "ENABLED"),
                found.get("status", "VALID"),
                found.get("statusReason", ""),
            )
            for found in answer["computeEnvironments"]
        )


def _first(found: Sequence[Any], what: str, name: str) -> Any:  # noqa: ANN401 - AWS's own shapes
    if not found:
        raise RejectedError(f"there is no {what} {name!r}", NOT_FOUND)
    return found[0]
