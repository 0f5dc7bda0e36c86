"""Which jobs start next, and where: by the priority of queues and the vCPUs of environments.

Queues with a higher priority come first, and jobs of one queue in the order of their submission. A
job that waits for vCPUs holds up the jobs behind it in its queue.
https://docs.aws.amazon.com/batch/latest/userguide/job_scheduling.html
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Environment:
    """A compute environment: its ARN, and how many vCPUs its jobs may have together."""

    arn: str
    max_vcpus: float


@dataclass(frozen=True, slots=True)
class Queue:
    """A job queue.

    Attributes:
        environments: Those that are enabled, in the queue's order.
    """

    arn: str
    priority: int
    environments: tuple[Environment, ...]


@dataclass(frozen=True, slots=True)
class Waiting:
    """A job that is ready to start."""

    id: str
    vcpus: float
    queue: Queue


def placements(waiting: Iterable[Waiting], used: Mapping[str, float]) -> list[tuple[str, str]]:
    """The jobs that can start now, each with the ARN of its environment.

    Args:
        waiting: In the order of submission.
        used: The vCPUs of the running jobs, by the ARN of their environment.
    """
    taken = dict(used)
    blocked: set[str] = set()
    placed = []
    for job in sorted(waiting, key=lambda job: -job.queue.priority):
        if job.queue.arn in blocked:
            continue
        for environment in job.queue.environments:
            vcpus = taken.get(environment.arn, 0.0) + job.vcpus
            if vcpus <= environment.max_vcpus:
                taken[environment.arn] = vcpus
                placed.append((job.id, environment.arn))
                break
        else:
            blocked.add(job.queue.arn)
    return placed
