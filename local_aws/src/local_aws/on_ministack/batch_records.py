"""Batch's jobs as records: what a request makes of a definition, and what an attempt runs of it.

A job is kept in the form of JobDetail:
https://docs.aws.amazon.com/batch/latest/APIReference/API_JobDetail.html
"""

from __future__ import annotations

import json
import re
import time
import uuid
from collections.abc import Mapping, Sequence

from ministack.services import batch

from local_aws.on_ministack.batch_queues import (
    Record,
    Refused,
    find_definition,
    find_queue,
    on_fargate,
)
from local_aws.on_ministack.containers import EPHEMERAL_GB, ContainerSpec

#: https://docs.aws.amazon.com/batch/latest/APIReference/API_SubmitJob.html
_JOB_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]{0,127}")
#: 30 KiB: https://docs.aws.amazon.com/batch/latest/userguide/service_limits.html
_MAX_CHARACTERS = 30 * 1024
#: Parts of SubmitJob for kinds of jobs that are not there.
_UNKNOWN = ("arrayProperties", "nodeOverrides", "eksPropertiesOverride", "ecsPropertiesOverride")
#: The container of a job whose definition has no log configuration.
#: https://docs.aws.amazon.com/batch/latest/userguide/using_awslogs.html
_LOG_GROUP = "/aws/batch/job"
_CONTAINER = "default"
_VCPUS, _MEMORY_MB = "1", "2048"


def new_job(request: Record) -> Record:
    """The record of a job that is submitted.

    Raises:
        Refused: The request is invalid, or its job definition.
    """
    try:
        return _new_job({name: value for name, value in request.items() if value is not None})
    except (AttributeError, LookupError, TypeError, ValueError) as e:
        raise Refused(f"a value of the request or of its job definition is invalid: {e}") from e


def _new_job(request: Record) -> Record:
    if not _JOB_NAME.fullmatch(request.get("jobName", "")):
        raise Refused("Job name should match valid pattern")
    if unknown := [name for name in _UNKNOWN if request.get(name)]:
        raise Refused(f"the embedded AWS has no {', '.join(unknown)}: leave it out")
    if len(json.dumps(request)) > _MAX_CHARACTERS:
        raise Refused(f"the request is larger than {_MAX_CHARACTERS} characters")
    queue = find_queue(request.get("jobQueue", ""))
    if queue["state"] != "ENABLED":
        raise Refused(f"JobQueue {queue['jobQueueArn']} is disabled.")
    definition = find_definition(request.get("jobDefinition", ""))
    container = definition.get("containerProperties", {})
    if not container.get("image"):
        raise Refused("the embedded AWS runs definitions with containerProperties and an image")
    job_id = str(uuid.uuid4())
    parameters = {**definition.get("parameters", {}), **request.get("parameters", {})}
    strategy = request.get("retryStrategy") or definition.get("retryStrategy") or {}
    timeout = request.get("timeout") or definition.get("timeout") or {}
    job = {
        "jobArn": batch._job_arn(job_id),
        "jobId": job_id,
        "jobName": request["jobName"],
        "jobQueue": queue["jobQueueArn"],
        "jobDefinition": definition["jobDefinitionArn"],
        "status": "SUBMITTED",
        "createdAt": now_ms(),
        "attempts": [],
        "retryStrategy": {
            "attempts": int(strategy.get("attempts", 1)),
            "evaluateOnExit": [
                _texts(condition, "action") for condition in strategy.get("evaluateOnExit") or []
            ],
        },
        "dependsOn": [_texts(other, "jobId") for other in request.get("dependsOn", [])],
        "parameters": parameters,
        "container": _container(container, request.get("containerOverrides", {}), parameters),
        **({"timeout": {name: int(value) for name, value in timeout.items()}} if timeout else {}),
        "tags": request.get("tags", {}),
        "platformCapabilities": definition.get("platformCapabilities", []),
        "isCancelled": False,
        "isTerminated": False,
    }
    vcpus(job), memory_mb(job)  # They are numbers.
    return job


def vcpus(job: Record) -> float:
    """How many vCPUs a job needs."""
    return float(_resource(job["container"], "VCPU", "vcpus") or _VCPUS)


def memory_mb(job: Record) -> int:
    """How much memory a job may use."""
    return int(_resource(job["container"], "MEMORY", "memory") or _MEMORY_MB)


def ecs_definition(job: Record) -> Record:
    """What ECS would call a job's container, mount into it and do with its log."""
    name = job["jobDefinition"].rpartition("/")[2].partition(":")[0]
    given = job["container"].get("logConfiguration", {"logDriver": "awslogs"})
    defaults = {"awslogs-group": _LOG_GROUP, "awslogs-stream-prefix": name}
    options = {**defaults, **given.get("options", {})}
    if options["awslogs-group"] == _LOG_GROUP:
        options["awslogs-create-group"] = "true"
    return {
        "name": _CONTAINER,
        "mountPoints": job["container"].get("mountPoints"),
        "logConfiguration": {**given, "options": options},
    }


def log_stream(job: Record, task_id: str) -> str:
    """The name of the log stream of a job's container."""
    options = ecs_definition(job)["logConfiguration"]["options"]
    return f"{options['awslogs-stream-prefix']}/{_CONTAINER}/{task_id}"


def container_spec(job: Record, environment: Record, secrets: Mapping[str, str]) -> ContainerSpec:
    """What runs in an attempt of a job; `secrets` are variables.

    The variables are those of
    https://docs.aws.amazon.com/batch/latest/userguide/job_env_vars.html.
    """
    container = job["container"]
    fargate = on_fargate(environment)
    return ContainerSpec(
        ecs_definition(job),
        container["image"],
        None,
        container.get("command") or None,
        {
            **{given["name"]: given["value"] for given in container.get("environment", [])},
            **secrets,
            "AWS_EXECUTION_ENV": "AWS_ECS_FARGATE" if fargate else "AWS_ECS_EC2",
            "AWS_BATCH_JOB_ID": job["jobId"],
            "AWS_BATCH_JQ_NAME": job["jobQueue"].rpartition("/")[2],
            "AWS_BATCH_CE_NAME": environment["computeEnvironmentName"],
            "AWS_BATCH_JOB_ATTEMPT": str(len(job["attempts"]) + 1),
        },
        container.get("jobRoleArn"),
        memory_mb=memory_mb(job),
        ephemeral_gb=container.get("ephemeralStorage", {}).get("sizeInGiB", EPHEMERAL_GB),
        volumes=container["volumes"],
    )


def now_ms() -> int:
    """The time as Batch writes it."""
    return int(time.time() * 1000)


def _container(own: Record, overrides: Record, parameters: Mapping[str, str]) -> Record:
    """The container of a job: its definition's own, with the overrides of the request.

    https://docs.aws.amazon.com/batch/latest/APIReference/API_ContainerOverrides.html
    """
    command = overrides.get("command") or own.get("command", [])
    return {
        **own,
        **{name: overrides[name] for name in ("vcpus", "memory") if name in overrides},
        "command": [_substituted(word, parameters) for word in command],
        "environment": _merged(own, overrides, "environment", "name"),
        "resourceRequirements": _merged(own, overrides, "resourceRequirements", "type"),
        "volumes": own.get("volumes", []),
        "mountPoints": own.get("mountPoints", []),
        "ulimits": own.get("ulimits", []),
        "networkInterfaces": [],
        "secrets": own.get("secrets", []),
    }


def _texts(entry: Record, required: str) -> dict[str, str]:
    """An entry of a list, of whose values one is required.

    Raises:
        ValueError: It is missing.
    """
    if entry.get(required) is None:
        raise ValueError(f"{required} is missing")
    return {name: str(value) for name, value in entry.items() if value is not None}


def _merged(own: Record, overrides: Record, name: str, key: str) -> Sequence[Record]:
    entries = [*own.get(name, []), *overrides.get(name, [])]
    return list({entry[key]: entry for entry in entries}.values())


def _substituted(word: str, parameters: Mapping[str, str]) -> str:
    """A word of a command, or the parameter that it refers to.

    https://docs.aws.amazon.com/batch/latest/userguide/job_definition_parameters.html#parameters
    """
    return parameters.get(word.removeprefix("Ref::"), word) if word.startswith("Ref::") else word


def _resource(container: Record, kind: str, former: str) -> str | None:
    """A resource requirement, or the property that it has replaced."""
    for requirement in container["resourceRequirements"]:
        if requirement["type"] == kind:
            return str(requirement["value"])
    return str(container[former]) if former in container else None
