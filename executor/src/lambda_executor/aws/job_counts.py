"""Counts what a service does for a target. It reads one page of a list, so no more than that."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final, Literal

from lambda_executor.aws.clients import Clients
from lambda_executor.core.targets import JobTarget, Service

#: The states of jobs of Batch that are asked for: one waits for a place, the other runs.
_OF_BATCH: Final[tuple[Literal["RUNNABLE"], Literal["RUNNING"]]] = ("RUNNABLE", "RUNNING")
_ENDED = "TERMINATED"


@dataclass(frozen=True, slots=True)
class JobCounts:
    """What waits and runs in a job queue, or of a task definition or a MicroVM image.

    Attributes:
        where: Which of them.
        by_state: How many there are, by the service's states; those of other stages count, too.
        is_more: Whether there are more than one page tells.
    """

    where: str
    by_state: Mapping[str, int]
    is_more: bool


def count_jobs(clients: Clients, target: JobTarget) -> JobCounts:
    """Ask a service about a target, by one call or two.

    Raises:
        AwsError: The service does not answer.
    """
    request = json.loads(target.request)
    with clients.errors():
        if target.service is Service.BATCH:
            return _of_batch(clients, request["jobQueue"])
        if target.service is Service.ECS:
            return _of_ecs(clients, request["cluster"], request["taskDefinition"])
        return _of_micro_vms(clients, request["imageIdentifier"])


def _of_batch(clients: Clients, queue: str) -> JobCounts:
    pages = {
        status: clients.batch.list_jobs(jobQueue=queue, jobStatus=status) for status in _OF_BATCH
    }
    by_state: dict[str, int] = {
        status: len(page["jobSummaryList"]) for status, page in pages.items()
    }
    is_more = any(page.get("nextToken") for page in pages.values())
    return JobCounts(f"job queue {queue}", _found(by_state), is_more)


def _of_ecs(clients: Clients, cluster: str, definition: str) -> JobCounts:
    family = definition.rpartition("/")[2].partition(":")[0]
    page = clients.ecs.list_tasks(cluster=cluster, family=family, desiredStatus="RUNNING")
    arns = page["taskArns"]
    tasks = clients.ecs.describe_tasks(cluster=cluster, tasks=arns)["tasks"] if arns else []
    by_state = Counter(task["lastStatus"] for task in tasks)
    return JobCounts(
        f"{family} in cluster {cluster}", _found(by_state), bool(page.get("nextToken"))
    )


def _of_micro_vms(clients: Clients, image: str) -> JobCounts:
    page = clients.micro_vms.list_microvms(imageIdentifier=image)
    by_state = Counter(found["state"] for found in page["items"] if found["state"] != _ENDED)
    name = image.rpartition(":")[2]
    return JobCounts(f"MicroVM image {name}", _found(by_state), bool(page.get("nextToken")))


def _found(by_state: Mapping[str, int]) -> dict[str, int]:
    return {state: count for state, count in sorted(by_state.items()) if count}
