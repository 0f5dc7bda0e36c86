"""Batch changes and deletes queues, environments and definitions, and keeps all of a definition.

ministack has no UpdateJobQueue, DeleteJobQueue, DeleteComputeEnvironment and
DeregisterJobDefinition. Of a job definition it forgets parameters, retry strategy, time-out and
platform, it finds definitions and environments by their names alone, and it takes any value as a
number. On AWS, what is deleted must be disabled first, and no queue may use a deleted environment.
https://docs.aws.amazon.com/batch/latest/APIReference/API_DeleteComputeEnvironment.html
https://docs.aws.amazon.com/batch/latest/APIReference/API_DeleteJobQueue.html
https://docs.aws.amazon.com/batch/latest/APIReference/API_DescribeJobDefinitions.html
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

from ministack.core.responses import error_response_json
from ministack.services import batch

_Record = dict[str, Any]
_Answer = Any  # ministack's: status, headers and body.

#: What ministack forgets of RegisterJobDefinition.
_FORGOTTEN = (
    "parameters",
    "retryStrategy",
    "timeout",
    "platformCapabilities",
    "propagateTags",
    "schedulingPriority",
)


def apply() -> None:
    """Add the operations, and replace those that forget or do not find."""
    stock_register = batch._register_job_definition
    stock_describe = batch._describe_compute_environments

    def register(request: _Record) -> _Answer:
        answer = stock_register(request)
        if revisions := batch._job_definitions.get(request.get("jobDefinitionName")):
            kept = {name: request[name] for name in _FORGOTTEN if request.get(name) is not None}
            revisions[-1].update(kept, containerOrchestrationType="ECS")
        return answer

    def describe_environments(request: _Record) -> _Answer:
        names = [_name(reference) for reference in request.get("computeEnvironments") or []]
        return stock_describe({**request, "computeEnvironments": names})

    batch._register_job_definition = register
    batch._describe_compute_environments = describe_environments
    batch._describe_job_definitions = _describe_definitions
    batch._update_job_queue = _update_queue
    batch._delete_job_queue = _delete_queue
    batch._delete_compute_environment = _delete_environment
    batch._deregister_job_definition = _deregister
    for path, operation in (
        ("registerjobdefinition", register),
        ("describecomputeenvironments", describe_environments),
        ("describejobdefinitions", _describe_definitions),
        ("updatejobqueue", _update_queue),
        ("deletejobqueue", _delete_queue),
        ("deletecomputeenvironment", _delete_environment),
        ("deregisterjobdefinition", _deregister),
    ):
        batch._DISPATCH[f"/v1/{path}"] = operation
    for verb in ("create", "update"):
        for noun in ("computeenvironment", "jobqueue"):
            path = f"/v1/{verb}{noun}"
            batch._DISPATCH[path] = _checked(batch._DISPATCH[path])


def _checked(operation: Callable[[_Record], _Answer]) -> Callable[[_Record], _Answer]:
    """Refuse a number that is none; a template may have its digits as a string."""

    def answer(request: _Record) -> _Answer:
        given = {name: value for name, value in request.items() if value is not None}
        try:
            if "maxvCpus" in (resources := given.get("computeResources", {})):
                int(resources["maxvCpus"])
            int(given.get("priority", 0))
            for entry in given.get("computeEnvironmentOrder", []):
                int(entry.get("order", 0)), _name(entry["computeEnvironment"])
        except (AttributeError, LookupError, TypeError, ValueError) as e:
            return _refusal(f"a value of the request is invalid: {e}")
        return operation(given)

    return answer


def _describe_definitions(request: _Record) -> _Answer:
    """Those with a name, or those of ARNs and of `name:revision`; else all."""
    wanted = request.get("jobDefinitions")
    name, status = request.get("jobDefinitionName"), request.get("status")
    if wanted:
        found = [record for reference in wanted for record in _definitions(reference)]
    else:
        found = [
            record
            for revisions in batch._job_definitions.values()
            for record in revisions
            if name in (None, record["jobDefinitionName"])
        ]
    chosen = [record for record in found if status in (None, record["status"])]
    return batch._json(200, {"jobDefinitions": chosen})


def _definitions(reference: str) -> Iterator[_Record]:
    """The revision of an ARN or of `name:revision`; all revisions of a name."""
    name, _, revision = _name(reference).partition(":")
    for record in batch._job_definitions.get(name) or []:
        if revision in ("", str(record["revision"])):
            yield record


def _deregister(request: _Record) -> _Answer:
    for record in _definitions(request.get("jobDefinition", "")):
        record["status"] = "INACTIVE"
    return batch._json(200, {})


def _update_queue(request: _Record) -> _Answer:
    record = batch._job_queues.get(_name(request.get("jobQueue", "")))
    if record is None:
        return _refusal(f"Object does not exist: {request.get('jobQueue')}")
    for name in ("state", "priority", "computeEnvironmentOrder", "schedulingPolicyArn"):
        if name in request:
            record[name] = request[name]
    return batch._json(200, {name: record[name] for name in ("jobQueueName", "jobQueueArn")})


def _delete_queue(request: _Record) -> _Answer:
    name = _name(request.get("jobQueue", ""))
    record = batch._job_queues.get(name)
    if record is not None and record["state"] != "DISABLED":
        return _refusal(f"Cannot delete, resource {name} is in state {record['state']}")
    batch._job_queues.pop(name, None)
    return batch._json(200, {})


def _delete_environment(request: _Record) -> _Answer:
    name = _name(request.get("computeEnvironment", ""))
    record = batch._compute_envs.get(name)
    if record is not None and record["state"] != "DISABLED":
        return _refusal(f"Cannot delete, resource {name} is in state {record['state']}")
    used = any(
        _name(entry["computeEnvironment"]) == name
        for queue in batch._job_queues.values()
        for entry in queue["computeEnvironmentOrder"]
    )
    if used:
        return _refusal("Cannot delete, found existing JobQueue relationship")
    batch._compute_envs.pop(name, None)
    return batch._json(200, {})


def _name(reference: str) -> str:
    """The name in an ARN, with the revision of a definition; or the name itself."""
    return reference.rpartition("/")[2]


def _refusal(message: str) -> _Answer:
    return error_response_json("ClientException", message, 400)
