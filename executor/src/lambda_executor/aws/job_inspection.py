"""Reads what the targets of jobs name. It starts no job."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from lambda_executor.aws.clients import Clients
from lambda_executor.contract.errors import RejectedError
from lambda_executor.core.targets import JobTarget, Service

#: The code of the error for what is not there, where AWS answers without it and with no error.
NOT_FOUND = "NotFound"
#: Where a job of Batch logs if its definition does not say so.
#: https://docs.aws.amazon.com/batch/latest/userguide/using_awslogs.html
_BATCH_LOG_GROUP = "/aws/batch/job"
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
    log_group: str = ""  # In CloudWatch Logs; empty: the log goes elsewhere.


@dataclass(frozen=True, slots=True)
class TaskDefinitionFacts:
    """One revision of a task definition."""

    status: str  # `ACTIVE`, `INACTIVE` or `DELETE_IN_PROGRESS`.
    containers: tuple[str, ...]
    network_mode: str  # `awsvpc` needs a network configuration.
    log_groups: Mapping[str, str] = field(default_factory=dict)  # By container that has one.


@dataclass(frozen=True, slots=True)
class MicroVmImageFacts:
    """One MicroVM image, and the version of it that is run."""

    state: str  # `CREATED` or `UPDATED`, or what is done to it, or has failed.
    version: str = ""  # Empty: there is none, and it has no active one.
    version_state: str = ""  # `SUCCESSFUL`, `FAILED`, ...
    version_status: str = ""  # `ACTIVE` or `INACTIVE`.
    version_reason: str = ""
    run_hook: str = ""  # `ENABLED` or `DISABLED`.
    hook_port: int = 0
    base: str = ""  # The ARN of the managed image that it is made of.
    base_version: str = ""


class JobInspection:
    """Reads from Batch, ECS and Lambda MicroVMs.

    Every method raises `AwsError` when AWS does not answer.
    """

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
        found.sort(key=lambda one: one["revision"], reverse=True)
        properties = _first(found, "active job definition", name).get("containerProperties", {})
        return JobDefinitionFacts(bool(properties), _log_group(properties, _BATCH_LOG_GROUP))

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
            {
                container["name"]: group
                for container in found["containerDefinitions"]
                if (group := _log_group(container, ""))
            },
        )

    def micro_vm_image(self, image: str, version: str | None) -> MicroVmImageFacts:
        """Read a MicroVM image, and one of its versions; None: the latest active one."""
        micro_vms = self._clients.micro_vms
        with self._clients.errors():
            found = micro_vms.get_microvm_image(imageIdentifier=image)
            wanted = version or found.get("latestActiveImageVersion", "")
            if not wanted:
                return MicroVmImageFacts(found["state"])
            run = micro_vms.get_microvm_image_version(imageIdentifier=image, imageVersion=wanted)
        hooks = run.get("hooks", {})
        return MicroVmImageFacts(
            found["state"],
            wanted,
            run["state"],
            run["status"],
            run.get("stateReason", ""),
            hooks.get("microvmHooks", {}).get("run", "DISABLED"),
            hooks.get("port", 0),
            run["baseImageArn"],
            run.get("baseImageVersion", ""),
        )

    def managed_image_status(self, image: str, version: str) -> str:
        """Read the status of a version of a managed MicroVM image; empty: it is not listed."""
        with self._clients.errors():
            pages = self._clients.micro_vms.get_paginator(
                "list_managed_microvm_image_versions"
            ).paginate(imageIdentifier=image)
            for page in pages:
                for found in page["items"]:
                    if found["imageVersion"] == version:
                        return str(found.get("status", "AVAILABLE"))
        return ""

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
            elif target.service is Service.MICROVM:
                # One that is not there may not be asked for: the permissions are the image's.
                self._clients.micro_vms.list_microvms(
                    imageIdentifier=request["imageIdentifier"], maxResults=1
                )
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


def _log_group(container: Mapping[str, Any], default: str) -> str:
    """Return the group to which a container's driver awslogs writes; empty: it has another one."""
    log = container.get("logConfiguration")
    if log is None:
        return default
    group = log.get("options", {}).get("awslogs-group", default)
    return str(group) if log["logDriver"] == "awslogs" else ""


def _first(found: Sequence[Any], what: str, name: str) -> Any:  # noqa: ANN401 - AWS's own shapes
    if not found:
        raise RejectedError(f"there is no {what} {name!r}", NOT_FOUND)
    return found[0]
