"""Why ECS started no task, by its words: its error codes do not tell a mistake from a quota."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from lambda_executor.contract.errors import (
    AwsError,
    InDoubtError,
    NoRoomError,
    RejectedError,
    ThrottledError,
)

#: What ECS says, in an answer or an error, when the account or the cluster runs as much as it may.
#: https://docs.aws.amazon.com/AmazonECS/latest/APIReference/API_RunTask.html
_QUOTAS = ("limit on the number of", "capacity error", "PROVISIONING")
#: What it says of a call of its own to EC2 that was throttled.
#: https://github.com/dask/dask-cloudprovider/issues/56
_THROTTLES = ("RequestLimitExceeded", "Rate exceeded", "Throttling")
#: What it says for the launch type EC2 of a cluster without an instance: one scaled to zero, or one
#: for Fargate.
#: https://github.com/boto/boto3/issues/2862
_NO_INSTANCE = "No Container Instances"
#: What it says of a command for a container that the newest revision does not have.
#: https://github.com/azavea/django-ecsmanage/issues/21
_NO_CONTAINER = "container named {} is not a container in the TaskDefinition"
#: The beginnings of its reasons for a task that has no room at the moment.
#: https://docs.aws.amazon.com/AmazonECS/latest/developerguide/api_failures_messages.html
_NO_ROOM = ("RESOURCE", "AGENT", "Capacity is unavailable")


def of_answer(failures: Sequence[Mapping[str, Any]]) -> AwsError:
    """Translate an answer without a task, by whether the same call may succeed later."""
    if not failures:
        return InDoubtError("Amazon ECS answered with neither a task nor a reason")
    why = "; ".join(
        ": ".join(filter(None, (failure.get("reason"), failure.get("detail"))))
        for failure in failures
    )
    if all(str(failure.get("reason")).startswith(_NO_ROOM) for failure in failures):
        return NoRoomError(f"Amazon ECS has no room for the task at the moment: {why}")
    return of_error(RejectedError(f"it was not placed: {why}"))


def of_error(error: RejectedError) -> AwsError:
    """Distinguish what ECS never takes from what it does not take now.

    A quota delays the tasks of one target: those of others may have a quota of their own. A
    throttle is one for all.
    """
    said = str(error)
    if any(text in said for text in _QUOTAS):
        where = "Amazon ECS and AWS Fargate in Service Quotas"
        return NoRoomError(f"{said}. AWS may raise the quota: see {where}", error.code)
    if _NO_INSTANCE in said:
        return NoRoomError(
            f"Amazon ECS has no room for the task at the moment: {said} Add an instance, or set "
            "capacityProviderStrategy, or launchType to FARGATE",
            error.code,
        )
    if any(text in said for text in _THROTTLES):
        return ThrottledError(said, error.code)
    return error


def lacks_container(error: RejectedError, name: str) -> bool:
    """Whether ECS refused a task because its definition has no container of a name."""
    return _NO_CONTAINER.format(name) in str(error)
