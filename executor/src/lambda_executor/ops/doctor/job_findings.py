"""The doctor's rules about what a target of jobs names."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from lambda_executor.aws import (
    JobDefinitionFacts,
    JobQueueFacts,
    MicroVmImageFacts,
    Place,
    TaskDefinitionFacts,
)
from lambda_executor.contract.errors import DENIED, AwsError
from lambda_executor.contract.micro_vm import HOOK_PORT
from lambda_executor.contract.options import TARGETS
from lambda_executor.contract.token_lifetime import JWT_EXPIRATION_TIME, TASK_QUEUED_TIMEOUT
from lambda_executor.core.findings import Finding, ok, problem, unknown
from lambda_executor.core.targets import JobTarget, Service
from lambda_executor.ops.doctor import refusals
from lambda_executor.setup.time_limits import TimeLimit

#: What the executor's role needs for each service.
PERMISSIONS = {
    Service.BATCH: "batch:SubmitJob, batch:ListJobs, batch:DescribeJobs and batch:TerminateJob",
    Service.ECS: (
        "ecs:RunTask, ecs:ListTasks, ecs:DescribeTasks, ecs:StopTask, ecs:DescribeTaskDefinition, "
        "and iam:PassRole for the roles of the task definition"
    ),
    Service.MICROVM: (
        "lambda:RunMicrovm, lambda:GetMicrovm, lambda:ListMicrovms, lambda:TerminateMicrovm, "
        "lambda:PassNetworkConnector, iam:PassRole for executionRoleArn, and s3:GetObject for "
        "invocations/*.microvm in the payload bucket, by which other schedulers find a MicroVM"
    ),
}
_TO_ALLOW = (
    "aws iam put-role-policy --role-name <role> --policy-name airflow-jobs "
    "--policy-document file://<policy>.json"
)


def job_queue(target: JobTarget, name: str, facts: JobQueueFacts) -> Finding:
    """Whether a job queue takes jobs, and has a compute environment that runs them."""
    update = f"aws batch update-job-queue --job-queue {name}"
    if facts.state != "ENABLED":
        return problem(
            "job queue",
            f"{name} is {facts.state}: it takes no jobs",
            "enable it",
            f"{update} --state ENABLED",
            str(target),
        )
    if facts.status != "VALID":
        return problem(
            "job queue",
            f"the status of {name} is {facts.status}: {facts.status_reason or 'without a reason'}",
            "correct what it says, or wait if it is being created or updated",
            f"aws batch describe-job-queues --job-queues {name}",
            str(target),
        )
    usable = [e.name for e in facts.environments if (e.state, e.status) == ("ENABLED", "VALID")]
    if usable:
        return ok("job queue", f"{name} is ENABLED, with {', '.join(usable)}", str(target))
    names = [environment.name for environment in facts.environments]
    found = "; ".join(
        f"{e.name} is {e.state} and {e.status} ({e.status_reason})" for e in facts.environments
    )
    return problem(
        "job queue",
        f"no compute environment of {name} can run a job: {found or 'it has none'}",
        "enable one that is VALID, or correct what the reason says",
        "aws batch update-compute-environment --state ENABLED --compute-environment "
        f"{names[0] if names else '<name>'}",
        str(target),
    )


def job_definition(target: JobTarget, name: str, facts: JobDefinitionFacts) -> Finding:
    """Whether a job definition is of a kind that gets its workload as its command."""
    if facts.has_one_container:
        return ok("job definition", f"{name} is ACTIVE", str(target))
    return problem(
        "job definition",
        f"{name} has no containerProperties: the workload is the command of the one container of "
        "a job, and not of several containers, of several nodes or of pods",
        "name a job definition with containerProperties",
        "aws batch describe-job-definitions --status ACTIVE",
        str(target),
    )


def cluster(target: JobTarget, name: str, status: str) -> Finding:
    """Whether a cluster takes tasks."""
    if status == "ACTIVE":
        return ok("cluster", f"{name} is ACTIVE", str(target))
    return problem(
        "cluster",
        f"{name} is {status}: it takes no tasks",
        "name one that is ACTIVE, or make it again",
        "aws ecs list-clusters",
        str(target),
    )


def task_definition(
    target: JobTarget, request: Mapping[str, Any], facts: TaskDefinitionFacts
) -> Finding:
    """Whether a task definition can be run, and which of its containers runs the workload."""
    name, of = request["taskDefinition"], str(target)
    list_ = f"aws ecs describe-task-definition --task-definition {name}"
    if facts.status != "ACTIVE":
        fix = "name a revision that is ACTIVE"
        return problem("task definition", f"{name} is {facts.status}", fix, list_, of)
    containers = ", ".join(facts.containers)
    if target.container is None and len(facts.containers) != 1:
        detail = f"{name} has the containers {containers}, and which runs the workload is not set"
        fix = "set containerName in [lambda_executor] targets to one of them"
        return problem("task definition", detail, fix, TARGETS.setting, of)
    if target.container not in (None, *facts.containers):
        detail = f"{name} has no container {target.container!r}; it has {containers}"
        fix = "set containerName in [lambda_executor] targets to one of them"
        return problem("task definition", detail, fix, TARGETS.setting, of)
    if facts.network_mode == "awsvpc" and not request.get("networkConfiguration"):
        detail = f"{name} has the network mode awsvpc, and the target has no networkConfiguration"
        fix = "add it, with the subnets and security groups of the tasks"
        return problem("task definition", detail, fix, TARGETS.setting, of)
    container = target.container or facts.containers[0]
    detail = f"{name} is ACTIVE; its container {container} runs the workload"
    return ok("task definition", detail, of)


def micro_vm_image(
    target: JobTarget, request: Mapping[str, Any], facts: MicroVmImageFacts
) -> Finding:
    """Whether the version of an image that is run can be, and gets its workload."""
    name, of = request["imageIdentifier"].rpartition(":")[2], str(target)
    show = f"aws lambda-microvms get-microvm-image --image-identifier {request['imageIdentifier']}"
    if not facts.version:
        detail = f"{name} is {facts.state} and has no active version: no MicroVM can be run"
        return problem("MicroVM image", detail, "deploy the stage again", show, of)
    version = f"version {facts.version} of {name}"
    if (facts.version_state, facts.version_status) != ("SUCCESSFUL", "ACTIVE"):
        detail = f"{version} is {facts.version_state} and {facts.version_status}" + (
            f": {facts.version_reason}" if facts.version_reason else ""
        )
        fix = "name a version that is ACTIVE, or none for the latest of them"
        return problem("MicroVM image", detail, fix, TARGETS.setting, of)
    if (facts.run_hook, facts.hook_port) != ("ENABLED", HOOK_PORT):
        detail = (
            f"the run hook of {version} is {facts.run_hook}, on port {facts.hook_port}: a MicroVM "
            f"gets its workload only by one that is ENABLED, on port {HOOK_PORT}"
        )
        return problem("MicroVM image", detail, "build the image with this hook", show, of)
    detail = (
        f"{version} is ACTIVE; its MicroVMs run for at most "
        f"{request['maximumDurationInSeconds']} s, with the role {request['executionRoleArn']}"
    )
    return ok("MicroVM image", detail, of)


def base_image(target: JobTarget, facts: MicroVmImageFacts, status: str) -> Finding:
    """Whether AWS still keeps the managed image that an image is made of.

    A deprecated one expires, and then nothing made of it runs any more.
    https://docs.aws.amazon.com/lambda/latest/dg/microvms-images.html
    """
    name = f"version {facts.base_version} of {facts.base.rpartition(':')[2]}"
    if status == "AVAILABLE":
        return ok("base image", f"{name} is AVAILABLE", str(target))
    return problem(
        "base image",
        f"{name} is {status or 'not listed any more'}: images made of it cannot be run once it has "
        "expired",
        "raise base_version of the target in the stage to a version that is AVAILABLE, and deploy: "
        "a deploy alone changes nothing",
        f"aws lambda-microvms list-managed-microvm-image-versions --image-identifier {facts.base}",
        str(target),
    )


def longest_wait(targets: Iterable[JobTarget], limit: TimeLimit) -> Finding:
    """Whether somebody has thought of how long a job may wait, for machines or behind others.

    How long it does wait is not known here, so that the default is no problem. A MicroVM starts
    within seconds, or is refused.
    """
    start = f"a job has {limit.seconds:g} s to start ({limit.option})"
    waits = any(target.service is not Service.MICROVM for target in targets)
    if not waits or limit.seconds > limit.option.default_s:
        return ok("longest wait", start)
    return unknown(
        "longest wait",
        f"{start}; whether that is enough is not known. Airflow takes the task of a later one back",
        f"raise {TASK_QUEUED_TIMEOUT} above the longest wait for a start, and before Airflow 3.2 "
        f"also {JWT_EXPIRATION_TIME}",
        f"{limit.option.environment_variable}=<seconds>",
    )


def not_permitted(target: JobTarget, error: AwsError) -> Finding:
    """The executor cannot find its jobs again."""
    return problem(
        "jobs",
        f"the state of jobs cannot be read: {error}",
        f"allow this role {PERMISSIONS[target.service]}",
        _TO_ALLOW,
        str(target),
    )


def refused(target: JobTarget, subject: str, action: str, error: AwsError, place: Place) -> Finding:
    """Judge an error about what a target names; the executor itself may not need the permission."""
    if error.code not in DENIED:
        return refusals.refused(subject, error, place, str(target))
    fix = f"allow this role {action}, which only this command uses"
    detail = f"whether it can be used is not known: {error}"
    return unknown(subject, detail, fix, _TO_ALLOW, str(target))
