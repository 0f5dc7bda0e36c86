"""The reasons of jobs that ended without a result, with what to do."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from lambda_executor.aws.job_ends import of_batch_job, of_ecs_task, of_micro_vm

ARN = "arn:aws:ecs:eu-west-1:123456789012:task/c/0123"


#: What `DescribeJobs` answers about a failed job, by what we make of it.
FAILED: dict[str, dict[str, Any]] = {
    "Essential container in task exited; its container exited with code 137; OutOfMemoryError: "
    "Container killed due to memory usage. It needed more memory than its container has: raise it "
    "in the definition of the job or task, or for this task in executor_config. Its log stream is "
    "task/default/0123": {
        "statusReason": "Essential container in task exited",
        "container": {
            "exitCode": 137,
            "reason": "OutOfMemoryError: Container killed due to memory usage",
            "logStreamName": "task/default/0123",
        },
    },
    "Host EC2 (instance i-0123) terminated. AWS took its machine away, as it does with Spot "
    "capacity: give the task retries, or run it on capacity on demand": {
        "statusReason": "Host EC2 (instance i-0123) terminated.",
        "container": {},
    },
    "Job attempt duration exceeded timeout; its container exited with code 137. It ran for longer "
    "than timeout.attemptDurationSeconds: raise it": {
        "statusReason": "Job attempt duration exceeded timeout",
        "container": {"exitCode": 137},
    },
    "its task was cleared; its container exited with code 137. It was stopped, and killed because "
    "it did not end in time": {
        "statusReason": "its task was cleared",
        "isTerminated": True,
        "container": {"exitCode": 137},
    },
    "its container exited with code 137. It was killed, most often because it needed more memory "
    "than its container has": {"container": {"exitCode": 137}},
    "Dependent Job failed": {"statusReason": "Dependent Job failed"},
    "AWS gives no reason": {},
}


@pytest.mark.parametrize("reason", FAILED)
def test_the_end_of_a_batch_job_is_told_with_the_fix(reason: str) -> None:
    """Batch's words come first, then what they mean, then where the log is."""
    job = {"jobId": "j", "status": "FAILED", **FAILED[reason]}
    assert of_batch_job(job) == f"the Batch job j has failed: {reason}"


def test_a_job_that_ended_well_without_a_result_says_so() -> None:
    """It is no success: nobody knows what became of the task."""
    job = {"jobId": "j", "status": "SUCCEEDED", "container": {"exitCode": 0}}
    assert of_batch_job(job).startswith(
        "the Batch job j has succeeded: its container exited with code 0. Its program ended well "
        "and sent no result"
    )


@pytest.mark.parametrize(
    ("task", "part"),
    [
        (
            {"stopCode": "SpotInterruption", "stoppedReason": "Your Spot Task was interrupted."},
            "give the task retries, or run it on capacity on demand",
        ),
        (
            {
                "stopCode": "TaskFailedToStart",
                "stoppedReason": "CannotPullContainerError: pull image manifest has been retried",
            },
            "Its image could not be pulled: check the image's name",
        ),
        (
            {
                "stopCode": "TaskFailedToStart",
                "stoppedReason": "ResourceInitializationError: unable to pull secrets",
            },
            "check the execution role",
        ),
        (
            {
                "stopCode": "EssentialContainerExited",
                "containers": [
                    {"name": "task", "exitCode": 0},
                    {"name": "side", "exitCode": 137},
                ],
            },
            "container side exited with code 137. Its program ended well and sent no result",
        ),
        (
            {"stopCode": "UserInitiated", "containers": [{"name": "task", "exitCode": 137}]},
            "It was stopped, and killed because it did not end in time",
        ),
        (
            {
                "stopCode": "EssentialContainerExited",
                "containers": [{"name": "task", "exitCode": 127}],
            },
            "The image does not know the command `job`",
        ),
        (
            {
                "stopCode": "EssentialContainerExited",
                "containers": [{"name": "task", "exitCode": 142}],
            },
            "The image does not know the command `job`: use the image of this release",
        ),
        ({"stopCode": "UserInitiated", "stoppedReason": "by hand"}, "UserInitiated; by hand"),
    ],
)
def test_the_end_of_an_ecs_task_is_told_with_the_fix(task: dict[str, Any], part: str) -> None:
    """The task is named by its id; every container's end is in it, and that of the workload counts.

    The workload's container is the one with a command.
    """
    given = [{"name": "side", "environment": []}, {"name": "task", "command": ["job", "{}"]}]
    reason = of_ecs_task({"taskArn": ARN, "overrides": {"containerOverrides": given}, **task})
    assert reason.startswith(f"the ECS task 0123 has stopped: {task['stopCode']}")
    assert part in reason


@pytest.mark.parametrize(
    ("said", "after_s", "part"),
    [
        ("Container Stopped with Exit Code: 0", 9, "Its program ended well and sent no result"),
        ("Container Stopped with Exit Code: 137", 9, "more memory than its MicroVM has"),
        ("Container Stopped with Exit Code: 127", 9, "does not know the command `microvm`"),
        ("Container Stopped with Exit Code: 9", 9, "Exit Code: 9. Its log stream ends with vm-1"),
        ("whatever AWS says", 60, "It ran for maximumDurationInSeconds, 60 s: raise that"),
        ("Run hook returned 500", 2, "The image's hook server did not take the workload"),
        (None, 2, "AWS gives no reason. Its log stream ends with vm-1"),
    ],
)
def test_the_end_of_a_micro_vm_is_told_with_the_fix(
    said: str | None, after_s: int, part: str
) -> None:
    """Lambda's words come first, then what they or the times mean, then where the log is."""
    started_at = datetime(2026, 11, 30, tzinfo=UTC)
    found: dict[str, Any] = {
        "microvmId": "vm-1",
        "state": "TERMINATED",
        "maximumDurationInSeconds": 60,
        "startedAt": started_at,
        "terminatedAt": started_at + timedelta(seconds=after_s),
        **({"stateReason": said} if said else {}),
    }
    reason = of_micro_vm(found)
    assert reason.startswith(f"the MicroVM vm-1 was terminated: {said or ''}")
    assert part in reason
    assert reason.endswith("Its log stream ends with vm-1")
