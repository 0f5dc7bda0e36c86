"""What still runs on the targets of a stage that is taken down, and its end.

Each workload would be paid for to its end, and what it runs on can be deleted only after it.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import boto3
from botocore.config import Config

#: What the services show as the reason.
REASON = "The stage is destroyed."
#: How often a service is asked what still runs.
POLL_S = 2.0
#: A job has 30 s after its signal, a MicroVM one minute. What runs for longer is left to the
#: deletion of the stacks, which then says what is in its way.
LONGEST_S = 300.0

#: https://docs.aws.amazon.com/batch/latest/userguide/job_states.html
_ACTIVE_JOBS = ("SUBMITTED", "PENDING", "RUNNABLE", "STARTING", "RUNNING")

#: Lambda takes ten calls of TerminateMicrovm in a second:
#: https://docs.aws.amazon.com/lambda/latest/dg/gettingstarted-limits.html
_PATIENT = Config(retries={"mode": "adaptive", "max_attempts": 10})


def stop_tasks(session: boto3.Session, cluster: str) -> None:
    """Stop the tasks of a cluster that no service has started: ECS deletes only an empty cluster.

    CloudFormation ends the tasks of services itself.
    """
    ecs = session.client("ecs")
    for page in ecs.get_paginator("list_tasks").paginate(cluster=cluster):
        for task in _of_no_service(ecs, cluster, page["taskArns"]):
            ecs.stop_task(cluster=cluster, task=task, reason=REASON)


def terminate_jobs(session: boto3.Session, queue: str) -> None:
    """Let a job queue take no more jobs, and end those that it has.

    On Fargate, a compute environment whose jobs have not ended cannot be deleted:
    https://docs.aws.amazon.com/batch/latest/APIReference/API_DeleteComputeEnvironment.html
    """
    batch: Any = session.client("batch")
    for found in batch.describe_job_queues(jobQueues=[queue])["jobQueues"]:
        if found["state"] == "ENABLED":
            batch.update_job_queue(jobQueue=queue, state="DISABLED")
        _end(
            lambda: list(_active_jobs(batch, queue)),
            lambda job: batch.terminate_job(jobId=job, reason=REASON),
        )


def terminate_micro_vms(session: boto3.Session, image: str) -> None:
    """End the MicroVMs of an image, each of which would be paid for up to eight hours."""
    api: Any = session.client("lambda-microvms", config=_PATIENT)
    _end(
        lambda: [found["microvmId"] for found in micro_vms(api, image)],
        lambda micro_vm: api.terminate_microvm(microvmIdentifier=micro_vm),
    )


def micro_vms(api: Any, image: str) -> Iterator[Mapping[str, Any]]:  # noqa: ANN401 - boto3 makes it at run time
    """Yield Lambda's descriptions of an image's MicroVMs, without those that have ended."""
    for page in api.get_paginator("list_microvms").paginate(imageIdentifier=image):
        yield from (found for found in page["items"] if found["state"] != "TERMINATED")


def _end(running: Callable[[], Sequence[str]], end: Callable[[str], object]) -> None:
    """End what runs, and wait until nothing does."""
    last = time.monotonic() + LONGEST_S
    while found := running():
        for one in found:
            end(one)
        if time.monotonic() > last:
            return
        time.sleep(POLL_S)


def _of_no_service(ecs: Any, cluster: str, arns: Sequence[str]) -> Iterator[str]:  # noqa: ANN401 - boto3 makes it at run time
    if arns:
        for task in ecs.describe_tasks(cluster=cluster, tasks=list(arns))["tasks"]:
            if not task.get("group", "").startswith("service:"):
                yield task["taskArn"]


def _active_jobs(batch: Any, queue: str) -> Iterator[str]:  # noqa: ANN401 - boto3 makes it at run time
    for status in _ACTIVE_JOBS:
        for page in batch.get_paginator("list_jobs").paginate(jobQueue=queue, jobStatus=status):
            yield from (job["jobId"] for job in page["jobSummaryList"])
