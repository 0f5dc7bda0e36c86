"""The option `targets`, read into `JobTarget`s."""

from __future__ import annotations

import json
from collections.abc import Collection, Mapping
from functools import partial
from typing import Any

from lambda_executor import aws
from lambda_executor.contract.errors import ConfigError
from lambda_executor.contract.options import PAYLOAD_BUCKET, SECTION, TARGETS
from lambda_executor.core.targets import JobTarget, Service
from lambda_executor.setup import by_queue

#: What starts a job of each service.
KINDS = {kind.service: kind for kind in (aws.SUBMIT_JOB, aws.RUN_TASK, aws.RUN_MICROVM)}
#: The parameter of ours beside those of `RunTask`.
_CONTAINER = "containerName"

_unusable = partial(by_queue.unusable, TARGETS)


def read(
    text: str | None, functions: Collection[str], payload_bucket: str | None
) -> Mapping[str, JobTarget]:
    """Return the jobs by the Airflow queue that they serve.

    Args:
        text: The value of the option.
        functions: The queues that functions serve.
        payload_bucket: The bucket through which every job gets its workload.

    Raises:
        ConfigError: The value is unusable, or there is no bucket.
    """
    if not text:
        return {}
    found = by_queue.read(TARGETS, text, "target")
    targets = {queue: _target(queue, value) for queue, value in found.items()}
    if both := sorted(set(targets) & set(functions)):
        raise _unusable(
            f"has the queue {both[0]!r}, and functions has it too",
            "a queue is served by a function or by a job: remove it from one of them",
        )
    if targets and not payload_bucket:
        raise ConfigError(
            f"[{SECTION}] targets is set and payload_bucket is not, and a job gets its workload "
            "through that bucket",
            fix="set it to a bucket that the scheduler may write and the jobs may read",
            command=PAYLOAD_BUCKET.setting,
        )
    return targets


def _target(queue: str, value: object) -> JobTarget:
    services = [service.value for service in Service]
    if not isinstance(value, dict) or len(value) != 1 or not set(value) <= set(services):
        found = ", ".join(sorted(value)) or "nothing" if isinstance(value, dict) else repr(value)
        raise _unusable(
            f"has {found:.200} for the queue {queue!r}",
            f"write an object with one of {', '.join(services)} and its parameters",
        )
    ((name, parameters),) = value.items()
    if not isinstance(parameters, dict):
        raise _unusable(
            f"has {parameters!r:.200} for {name} of the queue {queue!r}",
            "write an object of parameters",
        )
    service = Service(name)
    request, container = _without_container(service, parameters)
    fault = KINDS[service].fault(request)
    if fault is None and not (container is None or isinstance(container, str)):
        fault = f"{_CONTAINER} is {container!r}, which is no name"
    if fault:
        raise _unusable(f"is wrong for the queue {queue!r}: {fault}", "correct it")
    return JobTarget(queue, service, json.dumps(request), container or None)


def _without_container(
    service: Service, parameters: Mapping[str, Any]
) -> tuple[Mapping[str, Any], Any]:
    """Separate our parameter from AWS's."""
    if service is not Service.ECS:
        return parameters, None
    request = {name: value for name, value in parameters.items() if name != _CONTAINER}
    return request, parameters.get(_CONTAINER)
