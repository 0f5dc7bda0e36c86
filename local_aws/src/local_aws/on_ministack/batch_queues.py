"""Batch's queues, environments and definitions: how a request finds them in ministack."""

from __future__ import annotations

from typing import Any

from ministack.services import batch

from local_aws.batch_service.order import Environment, Queue

Record = dict[str, Any]

_FARGATE = ("FARGATE", "FARGATE_SPOT")


class Refused(Exception):  # noqa: N818 - it is an answer
    """A request that Batch refuses with a ClientException; the message is the answer's."""


def find_queue(reference: str) -> Record:
    """The job queue of a name or an ARN.

    Raises:
        Refused: There is none.
    """
    found = batch._job_queues.get(reference.rpartition("/")[2])
    if found is None or (reference.startswith("arn:") and found["jobQueueArn"] != reference):
        raise Refused(f"JobQueue {reference} not found.")
    return dict(found)


def find_definition(reference: str) -> Record:
    """The active job definition of a name, `name:revision` or ARN; of a name the latest revision.

    Raises:
        Refused: There is none.
    """
    name, _, revision = reference.rpartition("/")[2].partition(":")
    active = [
        record
        for record in batch._job_definitions.get(name) or []
        if record["status"] == "ACTIVE" and revision in ("", str(record["revision"]))
    ]
    if not active:
        raise Refused(f"JobDefinition {reference} not found.")
    return dict(active[-1])


def find_environment(reference: str) -> Record | None:
    """The compute environment of a name or an ARN."""
    found: Record | None = batch._compute_envs.get(reference.rpartition("/")[2])
    return found


def queue_of(arn: str) -> Queue:
    """A job queue with its enabled environments.

    Raises:
        Refused: The queue was deleted.
    """
    record = find_queue(arn)
    order = sorted(record["computeEnvironmentOrder"], key=lambda entry: int(entry.get("order", 0)))
    found = [find_environment(entry["computeEnvironment"]) for entry in order]
    return Queue(
        record["jobQueueArn"],
        int(record["priority"]),
        tuple(
            Environment(environment["computeEnvironmentArn"], _max_vcpus(environment))
            for environment in found
            if environment is not None and environment["state"] == "ENABLED"
        ),
    )


def on_fargate(environment: Record) -> bool:
    """Whether an environment's containers run on Fargate, and not on instances."""
    return environment.get("computeResources", {}).get("type") in _FARGATE


def _max_vcpus(environment: Record) -> float:
    # An unmanaged environment has no limit of its own.
    return float(environment.get("computeResources", {}).get("maxvCpus", "inf"))
