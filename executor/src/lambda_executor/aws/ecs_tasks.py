"""Workloads as tasks of Amazon ECS."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from functools import partial
from typing import Any, Final, Literal

from lambda_executor.aws import job_ends
from lambda_executor.aws.clients import Clients
from lambda_executor.aws.job_requests import RequestKind, command, job_name, merged
from lambda_executor.aws.remembered import Remembered
from lambda_executor.aws.started_jobs import Described, StartedJobs, before_the_start
from lambda_executor.contract.errors import (
    AwsError,
    InDoubtError,
    NoRoomError,
    RejectedError,
    RouteError,
    ThrottledError,
    TransientError,
)
from lambda_executor.contract.wire import InvocationId
from lambda_executor.core.targets import JobTarget, Service

#: Characters of a reason for a stop; ECS documents no limit.
_LONGEST_REASON = 255
#: The states that ECS wants a task to be in, the later one last.
_STATES: Final[tuple[Literal["RUNNING"], Literal["STOPPED"]]] = ("RUNNING", "STOPPED")

RUN_TASK = RequestKind(
    Service.ECS,
    "RunTask",
    required=("cluster", "taskDefinition"),
    refused={
        "clientToken": "it is made of the dispatch id, so that nothing starts twice",
        "count": "a workload is one task of ECS",
        "overrides.containerOverrides.command": "the command is the workload",
        "startedBy": "it is the dispatch id, by which the task of ECS is found again",
    },
    fixed={"cluster": "choose another target, by the task's queue or its executor_config"},
    exclusive=("launchType", "capacityProviderStrategy"),
)

#: What ECS says, in an answer or an error, when the account or the cluster runs as much as it may.
#: https://docs.aws.amazon.com/AmazonECS/latest/APIReference/API_RunTask.html
_QUOTAS = ("limit on the number of", "capacity error", "PROVISIONING")
#: What it says of a call of its own to EC2 that was throttled.
#: https://github.com/dask/dask-cloudprovider/issues/56
_THROTTLES = ("RequestLimitExceeded", "Rate exceeded", "Throttling")
#: What it says of a command for a container that the newest revision does not have.
#: https://github.com/azavea/django-ecsmanage/issues/21
_NO_CONTAINER = "container named {} is not a container in the TaskDefinition"
#: The beginnings of its reasons for a task that has no room at the moment.
#: https://docs.aws.amazon.com/AmazonECS/latest/developerguide/api_failures_messages.html
_NO_ROOM = ("RESOURCE", "AGENT", "Capacity is unavailable")


class EcsTasks:
    """Runs workloads as tasks of Amazon ECS; implements `ports.JobLauncher`.

    The dispatch id is the client token, so that a repeated `RunTask` starts nothing, for a day or
    until an hour after the task has stopped. AWS does not say whether an answer without a task uses
    the token up too: nothing has started then, so that the next call has another token. The
    dispatch id is also `startedBy`, by which a task is found.
    https://docs.aws.amazon.com/AmazonECS/latest/APIReference/ECS_Idempotency.html

    ECS forgets a stopped task after an hour or more, and what it has forgotten looks like what it
    does not show yet. Both are left out: no result comes for them, and Airflow ends the task when
    its heartbeats stop or when it was queued for too long.
    """

    def __init__(self, clients: Clients) -> None:
        self._clients = clients
        self._tasks = StartedJobs()
        self._refusals: Remembered[int] = Remembered()  # The answers without a task.
        self._containers: dict[str, str] = {}  # By task definition, for those with one container.

    def launch(
        self, target: JobTarget, id: InvocationId, event: bytes, overrides: Mapping[str, Any]
    ) -> None:
        """Run a task, unless an earlier call has done so."""
        request = RUN_TASK.overridden(target, overrides)
        definition = request["taskDefinition"]
        remembered = None if target.container else self._containers.get(definition)
        with before_the_start():
            container = target.container or remembered or self._only_container(definition)
        try:
            self._run(id, completed(request, id, event, container, self._refusals.get(id, 0)))
        except RejectedError as e:
            if e.code == "ConflictException":  # The token is taken: by this very invocation.
                return
            if remembered and _NO_CONTAINER.format(remembered) in str(e):
                self._containers.pop(definition, None)  # It is that of an older revision.
                raise TransientError(str(e), e.code) from e
            raise e.about(f"Amazon ECS refused the task of target {target.name!r}") from e

    def ended(self, target: JobTarget, ids: Collection[InvocationId]) -> Mapping[InvocationId, str]:
        """Return why tasks have ended, of those that ECS still knows."""
        find, describe = partial(self._find, target), partial(self._describe, target)
        return self._tasks.ended(ids, find, describe)

    def stop(self, target: JobTarget, id: InvocationId, reason: str) -> bool:
        """Stop a task; ECS refuses to stop one that it has forgotten, or does not show yet."""
        found = False
        for arn in self._tasks.of(id, partial(self._find, target)):
            try:
                with self._clients.errors():
                    self._clients.ecs.stop_task(
                        cluster=_cluster(target), task=arn, reason=reason[:_LONGEST_REASON]
                    )
            except RejectedError as e:
                if "not found" not in str(e) or e.code == "ClusterNotFoundException":
                    raise
            else:
                found = True
        return found

    def _run(self, id: InvocationId, request: Mapping[str, Any]) -> None:
        try:
            with self._clients.errors():
                answer = self._clients.ecs.run_task(**request)
        except RejectedError as e:
            raise _judged(e) from e
        if not answer.get("tasks"):
            failures = answer.get("failures", [])
            if failures:
                self._refusals.put(id, self._refusals.get(id, 0) + 1)
            raise _not_placed(failures)
        self._tasks.started(id, answer["tasks"][0]["taskArn"])

    def _only_container(self, definition: str) -> str:
        try:
            with self._clients.errors():
                answer = self._clients.ecs.describe_task_definition(taskDefinition=definition)
        except RejectedError as e:
            raise e.about(
                f"the containers of the task definition {definition!r} are not known: correct its "
                "name, allow ecs:DescribeTaskDefinition, or set containerName in [lambda_executor] "
                "targets"
            ) from e
        names: list[str] = [
            container["name"] for container in answer["taskDefinition"]["containerDefinitions"]
        ]
        if len(names) != 1:
            raise RouteError(
                f"the task definition {definition!r} has the containers {', '.join(names)}: set "
                "containerName in [lambda_executor] targets to the one that runs the workload"
            )
        self._containers[definition] = names[0]
        return names[0]

    def _describe(self, target: JobTarget, arns: Sequence[str]) -> Iterator[Described]:
        with self._clients.errors():
            answer = self._clients.ecs.describe_tasks(cluster=_cluster(target), tasks=arns)
        for task in answer["tasks"]:
            has_ended = task["lastStatus"] == _STATES[-1]
            yield Described(task["taskArn"], job_ends.of_ecs_task(task) if has_ended else None)

    def _find(self, target: JobTarget, id: InvocationId) -> list[str]:
        """Ask for the task of an invocation: among those that shall run, then among the others.

        https://docs.aws.amazon.com/AmazonECS/latest/APIReference/API_ListTasks.html
        """
        for status in _STATES:
            with self._clients.errors():
                answer = self._clients.ecs.list_tasks(
                    cluster=_cluster(target), startedBy=job_name(id), desiredStatus=status
                )
            if found := answer["taskArns"]:
                return found
        return []


def completed(
    request: Mapping[str, Any], id: InvocationId, event: bytes, container: str, refusals: int = 0
) -> dict[str, Any]:
    """Return the whole `RunTask` from the parameters that a person has set.

    Args:
        request: Those parameters.
        id: The dispatch id.
        event: The invocation.
        container: The container that runs the workload.
        refusals: The earlier calls that certainly started nothing.
    """
    ours = {
        "startedBy": job_name(id),
        "clientToken": job_name(InvocationId(f"{id}-{refusals}") if refusals else id),
        "overrides": {"containerOverrides": [{"name": container, "command": command(event)}]},
    }
    return merged(request, ours)


def _cluster(target: JobTarget) -> str:
    cluster: str = RUN_TASK.overridden(target, {})["cluster"]
    return cluster


def _not_placed(failures: Sequence[Mapping[str, Any]]) -> AwsError:
    """Translate an answer without a task, by whether the same call may succeed later."""
    if not failures:
        return InDoubtError("Amazon ECS answered with neither a task nor a reason")
    why = "; ".join(
        ": ".join(filter(None, (failure.get("reason"), failure.get("detail"))))
        for failure in failures
    )
    if all(str(failure.get("reason")).startswith(_NO_ROOM) for failure in failures):
        return NoRoomError(f"Amazon ECS has no room for the task at the moment: {why}")
    return _judged(RejectedError(f"it was not placed: {why}"))


def _judged(error: RejectedError) -> AwsError:
    """Distinguish what ECS never takes from what it does not take now, by its words.

    A quota delays the task alone: others may be smaller, or have a quota of their own. A throttle
    is one for all.
    """
    said = str(error)
    if any(text in said for text in _QUOTAS):
        where = "Amazon ECS and AWS Fargate in Service Quotas"
        return NoRoomError(f"{said}. AWS may raise the quota: see {where}", error.code)
    if any(text in said for text in _THROTTLES):
        return ThrottledError(said, error.code)
    return error
