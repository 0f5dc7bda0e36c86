"""Workloads as tasks of Amazon ECS."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from functools import partial
from typing import Any, Final, Literal

from lambda_executor.aws import ecs_refusals, job_ends
from lambda_executor.aws.clients import Clients
from lambda_executor.aws.job_requests import RequestKind, command, job_name, merged
from lambda_executor.aws.remembered import Remembered
from lambda_executor.aws.started_jobs import Described, StartedJobs, before_the_start
from lambda_executor.contract.errors import RejectedError, RouteError, TransientError
from lambda_executor.contract.wire import InvocationId
from lambda_executor.core.targets import JobTarget, Service

#: Characters of a reason for a stop; ECS documents no limit.
_LONGEST_REASON = 255
#: The states that ECS wants a task to be in, the later one last.
_STATES: Final[tuple[Literal["RUNNING"], Literal["STOPPED"]]] = ("RUNNING", "STOPPED")
#: The state of a task that has ended.
ENDED: Final = _STATES[-1]

RUN_TASK = RequestKind(
    Service.ECS,
    "ecs",
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
        self._has_strategy: dict[str, bool] = {}  # By cluster, for those of the reference.

    def launch(
        self, target: JobTarget, id: InvocationId, event: bytes, overrides: Mapping[str, Any]
    ) -> None:
        """Run a task, unless an earlier call has done so."""
        request: Mapping[str, Any] = RUN_TASK.overridden(target, overrides)
        definition = request["taskDefinition"]
        remembered = None if target.container else self._containers.get(definition)
        with before_the_start():
            container = target.container or remembered or self._only_container(definition)
            if target.is_of_reference:
                request = self._as_in_reference(request)
        try:
            self._run(id, completed(request, id, event, container, self._refusals.get(id, 0)))
        except RejectedError as e:
            if e.code == "ConflictException":  # The token is taken: by this very invocation.
                return
            if remembered and ecs_refusals.lacks_container(e, remembered):
                self._containers.pop(definition, None)  # It is that of an older revision.
                raise TransientError(str(e), e.code) from e
            raise e.about(f"Amazon ECS refused the task of target {target.name!r}") from e

    def ended(self, target: JobTarget, ids: Collection[InvocationId]) -> Mapping[InvocationId, str]:
        """Return why tasks have ended, of those that ECS still knows."""
        look, describe = partial(find, self._clients, target), partial(self._describe, target)
        return self._tasks.ended(ids, look, describe)

    def stop(self, target: JobTarget, id: InvocationId, reason: str) -> bool:
        """Stop a task; ECS refuses to stop one that it has forgotten, or does not show yet."""
        found = False
        for arn in self._tasks.of(id, partial(find, self._clients, target)):
            try:
                with self._clients.errors():
                    self._clients.ecs.stop_task(
                        cluster=cluster_of(target), task=arn, reason=reason[:_LONGEST_REASON]
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
            raise ecs_refusals.of_error(e) from e
        if not answer.get("tasks"):
            failures = answer.get("failures", [])
            if failures:
                self._refusals.put(id, self._refusals.get(id, 0) + 1)
            raise ecs_refusals.of_answer(failures)
        self._tasks.started(id, answer["tasks"][0]["taskArn"])

    def _as_in_reference(self, request: Mapping[str, Any]) -> Mapping[str, Any]:
        """Let a task run on Fargate if neither its request nor its cluster says where.

        `AwsEcsExecutor` has this default. That of `RunTask` is the launch type EC2.
        https://docs.aws.amazon.com/AmazonECS/latest/APIReference/API_RunTask.html
        """
        if any(name in request for name in RUN_TASK.exclusive):
            return request
        cluster = request["cluster"]
        if cluster not in self._has_strategy:
            with self._clients.errors():
                found = self._clients.ecs.describe_clusters(clusters=[cluster])["clusters"]
            self._has_strategy[cluster] = any(
                one.get("defaultCapacityProviderStrategy") for one in found
            )
        return request if self._has_strategy[cluster] else {**request, "launchType": "FARGATE"}

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
            answer = self._clients.ecs.describe_tasks(cluster=cluster_of(target), tasks=arns)
        for task in answer["tasks"]:
            has_ended = task["lastStatus"] == ENDED
            yield Described(task["taskArn"], job_ends.of_ecs_task(task) if has_ended else None)


def find(clients: Clients, target: JobTarget, id: InvocationId) -> list[str]:
    """Ask for the task of an invocation: among those that shall run, then among the others.

    https://docs.aws.amazon.com/AmazonECS/latest/APIReference/API_ListTasks.html
    """
    for status in _STATES:
        with clients.errors():
            answer = clients.ecs.list_tasks(
                cluster=cluster_of(target), startedBy=job_name(id), desiredStatus=status
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


def cluster_of(target: JobTarget) -> str:
    """Return the cluster of a target."""
    cluster: str = RUN_TASK.overridden(target, {})["cluster"]
    return cluster
