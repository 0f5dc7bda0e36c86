"""Why a job ended without a result, in words for the person who wrote its task."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any

from lambda_executor.contract.lambda_limits import LONGEST_LIFE_S

#: What AWS says in one of its reasons, and what that means.
#: https://docs.aws.amazon.com/AmazonECS/latest/developerguide/stopped-task-error-codes.html
#: https://docs.aws.amazon.com/batch/latest/userguide/troubleshooting.html
_SAID = {
    ("OutOfMemory",): "it needed more memory than its container has: raise it in the definition of "
    "the job or task, or for this task in executor_config",
    ("SpotInterruption", "Spot Task was interrupted", "Host EC2"): "AWS took its machine away, as "
    "it does with Spot capacity: give the task retries, or run it on capacity on demand",
    ("attempt duration exceeded timeout",): "it ran for longer than "
    "timeout.attemptDurationSeconds: raise it",
    ("CannotPull",): "its image could not be pulled: check the image's name, what the execution "
    "role may pull, and the way from the subnets to the registry (a NAT gateway, a public IP "
    "address or VPC endpoints)",
    ("ResourceInitializationError",): "its secrets, log or file systems could not be set up: check "
    "the execution role, and the way from the subnets to AWS's endpoints",
    ("CannotStartContainerError",): "its container did not start: the image's ENTRYPOINT has to be "
    "that of this release's image, which knows the command `job`",
    ("network interface provisioning", "TimeoutError"): "AWS took too long to set it up: give the "
    "task retries",
}
#: Of a container that was killed, which a stop does too.
_KILLED = 137
_KILLED_BY_A_STOP = "it was stopped, and killed because it did not end in time"
_UNKNOWN_COMMAND = "the image does not know the command `job`: use the image of this release"
#: What the exit codes of containers mean that no reason goes with. 142 is that of the ENTRYPOINT of
#: AWS's base image, which images of earlier releases have, if it gets more than one argument:
#: https://github.com/ricardoper/aws-lambda-container-images/blob/2c97a9c913e17002c062b6c667f4ccd77813aaf0/python-alpine/lambda-entrypoint.sh
#: https://docs.aws.amazon.com/AmazonECS/latest/developerguide/stopped-task-error-codes.html
_EXIT_CODES = {
    0: "its program ended well and sent no result: see its log, and whether its image is that of "
    "this release",
    127: _UNKNOWN_COMMAND,
    137: "it was killed, most often because it needed more memory than its container has",
    139: "its program crashed (segmentation fault)",
    142: _UNKNOWN_COMMAND,
    143: "it was asked to stop (SIGTERM), and ended without a result",
}
#: How Lambda says that the main process of a MicroVM has ended.
_CONTAINER_STOPPED = re.compile(r"Container Stopped with Exit Code: (\d{1,9})", re.IGNORECASE)
#: What the exit codes of a MicroVM's main process mean.
_EXIT_CODES_OF_MICRO_VM = {
    **_EXIT_CODES,
    127: "the image does not know the command `microvm`: make it of the image of this release",
    137: "it was killed, most often because it needed more memory than its MicroVM has: choose a "
    "target with more",
}


def of_batch_job(job: Mapping[str, Any]) -> str:
    """Describe the end of a job, from an answer of `DescribeJobs`."""
    container = job.get("container") or {}
    log = container.get("logStreamName")
    return _sentence(
        f"the Batch job {job['jobId']} has {job['status'].lower()}",
        [job.get("statusReason")],
        [container],
        _meaning_of_exit(container, was_stopped=bool(job.get("isTerminated"))),
        f"Its log stream is {log}" if log else "",
    )


def of_ecs_task(task: Mapping[str, Any]) -> str:
    """Describe the end of a task, from an answer of `DescribeTasks`."""
    return _sentence(
        f"the ECS task {task['taskArn'].rpartition('/')[2]} has stopped",
        [task.get("stopCode"), task.get("stoppedReason")],
        task.get("containers") or [],
        _meaning_of_exit(_workload(task), was_stopped=task.get("stopCode") == "UserInitiated"),
    )


def of_micro_vm(found: Mapping[str, Any]) -> str:
    """Describe the end of a MicroVM, from an answer of `GetMicrovm`.

    Its duration tells whether it was ended for that, because what Lambda says then is not
    documented. Lambda writes the log of a MicroVM to a stream that ends with its id.
    """
    of = found["microvmId"]
    said = found.get("stateReason", "")
    return _sentence(
        f"the MicroVM {of} was terminated",
        [said],
        [],
        _meaning_for_micro_vm(found, said),
        f"Its log stream ends with {of}",
    )


def _meaning_for_micro_vm(found: Mapping[str, Any], said: str) -> str:
    if exit_ := _CONTAINER_STOPPED.search(said):
        return _EXIT_CODES_OF_MICRO_VM.get(int(exit_[1]), "")
    most_s = found["maximumDurationInSeconds"]
    ended_at, started_at = found.get("terminatedAt"), found["startedAt"]
    if ended_at and (ended_at - started_at).total_seconds() >= most_s:
        return (
            f"it ran for maximumDurationInSeconds, {most_s} s: raise that (at most "
            f"{LONGEST_LIFE_S}), or choose a target without a limit"
        )
    if "hook" in said.lower():
        return (
            "the image's hook server did not take the workload: see the log, and whether the image "
            "of the MicroVM is of this release and its run hook has enough time "
            "(runTimeoutInSeconds; AWS's default is 1 s)"
        )
    return ""


def _workload(task: Mapping[str, Any]) -> Mapping[str, Any]:
    """Return the container that runs the workload: the one that was given a command."""
    overrides = task.get("overrides", {}).get("containerOverrides", [])
    name = next((one.get("name") for one in overrides if one.get("command")), None)
    containers = task.get("containers") or []
    return next((one for one in containers if one.get("name") == name), {})


def _sentence(
    what: str,
    said: list[str | None],
    containers: list[Mapping[str, Any]],
    of_exit: str,
    log: str = "",
) -> str:
    reasons = [text.rstrip(".") for text in said if text]
    reasons += _ends_of_containers(containers)
    found = "; ".join(reasons)
    # The reasons first: they say more than an exit code.
    meaning = next((m for texts, m in _SAID.items() if any(t in found for t in texts)), of_exit)
    parts = f"{what}: {found or 'AWS gives no reason'}", meaning[:1].upper() + meaning[1:], log
    return ". ".join(filter(None, parts))


def _ends_of_containers(containers: list[Mapping[str, Any]]) -> Iterator[str]:
    for container in containers:
        name = f"container {container['name']}" if container.get("name") else "its container"
        if "exitCode" in container:
            yield f"{name} exited with code {container['exitCode']}"
        if container.get("reason"):
            yield str(container["reason"])


def _meaning_of_exit(container: Mapping[str, Any], *, was_stopped: bool) -> str:
    if "exitCode" not in container:
        return ""
    if was_stopped and container["exitCode"] == _KILLED:
        return _KILLED_BY_A_STOP
    return _EXIT_CODES.get(container["exitCode"], "")
