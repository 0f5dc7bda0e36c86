"""ECS tasks: runs the containers of RunTask in sandboxes, from the images of the image store.

ministack keeps clusters, task definitions and tasks, resolves secrets, and would run the containers
by a docker client, which it finds nowhere here. This module is that client, with the few operations
that ministack uses. It also corrects what ministack does differently from AWS: it passes on the
entry point and the memory of a task, ends all containers with an essential one, and lets StopTask
ask them before it kills them. The tasks of services stay records, as without a docker client.
"""

from __future__ import annotations

import contextvars
import threading
from collections.abc import Callable
from dataclasses import dataclass
from functools import wraps
from typing import Any

from ministack.core.concurrency import resource_lock
from ministack.core.responses import json_response, request_scope
from ministack.services import ecs

from local_aws.batch_service.attempt import OUT_OF_MEMORY
from local_aws.images.store import ImageError
from local_aws.on_ministack.containers import EPHEMERAL_GB, Containers, ContainerSpec
from local_aws.sandbox.container import Container

_Record = dict[str, Any]

#: https://docs.aws.amazon.com/AmazonECS/latest/APIReference/API_ContainerDefinition.html
_STOP_TIMEOUT_S = 30
_MEMORY_MB = 512
#: ministack's words, and those of
#: https://docs.aws.amazon.com/AmazonECS/latest/developerguide/stopped-task-error-codes.html
_REASONS = {"Essential container exited": "Essential container in task exited"}
#: ministack's address of its own credentials, which no sandbox can reach.
_NOT_FOR_SANDBOXES = ("AWS_CONTAINER_CREDENTIALS_FULL_URI", "AWS_CONTAINER_AUTHORIZATION_TOKEN")

_for_a_service = contextvars.ContextVar("for_a_service", default=False)


class ContainerTasks:
    """Runs the containers of tasks.

    Attributes:
        containers: This object itself, as ministack calls `docker_client.containers.run`.
    """

    def __init__(self, started_by: Containers) -> None:
        self._containers = started_by
        self._running: dict[str, _DockerContainer] = {}
        self.containers = self

    def install(self) -> None:
        """Become the docker client of ministack's ECS."""
        stock_stopped, stock_stop = ecs._mark_task_stopped, ecs._ACTION_MAP["StopTask"]

        def mark_stopped(
            arn: str, task: _Record, reason: str, code: str, exit_code: int | None = None
        ) -> bool:
            reason, code = task.get("_stop") or (_REASONS.get(reason, reason), code)
            for index, container in enumerate(self._of(task)):
                container.container.kill()
                described = task["containers"][index]
                described["exitCode"] = container.container.exit_code
                if container.container.out_of_memory:
                    described["reason"] = OUT_OF_MEMORY
            stopped = bool(stock_stopped(arn, task, reason, code, exit_code))
            for id in task.get("_docker_ids") or []:
                self._running.pop(id, None)
            return stopped

        def stop_task(request: _Record) -> Any:  # noqa: ANN401 - ministack's answer
            cluster = ecs._resolve_cluster_name(request.get("cluster", "default"))
            known = cluster in ecs._clusters
            task = ecs._resolve_task(request.get("task", ""), cluster) if known else None
            if not task or task["lastStatus"] == "STOPPED" or not self._of(task):
                return stock_stop(request)
            self._stop(task, request.get("reason", "Task stopped by user"), "UserInitiated")
            return json_response({"task": ecs._sanitize(task)})

        ecs._get_docker = lambda: None if _for_a_service.get() else self
        ecs._reconcile_service_tasks = _as_records(ecs._reconcile_service_tasks)
        ecs._build_run_kwargs = _start_of
        # Each container writes its own log.
        ecs._start_awslogs_forwarder = lambda *_: None
        ecs._task_is_active = _is_active
        ecs._mark_task_stopped = mark_stopped
        ecs._stop_task = ecs._ACTION_MAP["StopTask"] = stop_task

    def interrupt(self, task_arn: str) -> bool:
        """Take back the capacity of a running task, as Fargate Spot does; whether it runs.

        The words are those of
        https://repost.aws/knowledge-center/fargate-spot-termination-notice.
        """
        _, _, _, region, account, _ = task_arn.split(":", 5)
        with request_scope(account, region):
            task = ecs._tasks.get(task_arn)
            if not task or task["lastStatus"] != "RUNNING" or not self._of(task):
                return False
            self._stop(task, "Your Spot Task was interrupted.", "SpotInterruption")
            return True

    def run(self, image: str, *, start: _Start) -> _DockerContainer:
        """Start a container (for ministack).

        Raises:
            ecs._ImagePullError: There is no such image.
            ValueError: A sandbox does not have all of the definition, or its log group is missing.
            OSError: The sandbox cannot be started.
        """
        try:
            container = self._containers.start(self._spec(image, start), start.id)
        except ImageError as e:
            raise ecs._ImagePullError(str(e)) from e
        self._running[container.id] = _DockerContainer(container)
        return self._running[container.id]

    def get(self, container_id: str) -> _DockerContainer:
        """Find a container (for ministack).

        Raises:
            KeyError: There is none.
        """
        return self._running[container_id]

    def _of(self, task: _Record) -> list[_DockerContainer]:
        found = [self._running.get(id) for id in task.get("_docker_ids") or []]
        return [container for container in found if container is not None]

    def _stop(self, task: _Record, reason: str, code: str) -> None:
        """Have each container stop on a thread; ministack notices their end."""
        with resource_lock("ecs-task", task["taskArn"]):
            if "_stop" in task:
                return
            task["_stop"] = (reason, code)
            task["desiredStatus"] = "STOPPED"
            task["stoppingAt"] = ecs._iso()
        definition = ecs._task_defs[ecs._resolve_td_key(task["taskDefinitionArn"])]
        for container, described in zip(
            self._of(task), definition["containerDefinitions"], strict=False
        ):
            grace_s = float(described.get("stopTimeout") or _STOP_TIMEOUT_S)
            threading.Thread(target=container.container.stop, args=[grace_s], daemon=True).start()

    def _spec(self, image: str, start: _Start) -> ContainerSpec:
        definition, overrides = start.definition, start.task["overrides"]
        override = ecs._container_override_for(
            overrides.get("containerOverrides", []), start.container["name"]
        )
        given = {k: v for k, v in start.variables.items() if k not in _NOT_FOR_SANDBOXES}
        _, metadata, token = given.pop("ECS_CONTAINER_METADATA_URI_V4").partition("/v4/")
        metadata_uri = f"{self._containers.endpoint_url}{metadata}{token}"
        of_task = overrides.get("memory") or definition.get("memory")
        own = override.get("memory") or start.container.get("memory")
        limits_mb = [int(memory_mb) for memory_mb in (of_task, own) if memory_mb]
        storage = overrides.get("ephemeralStorage") or definition.get("ephemeralStorage") or {}
        return ContainerSpec(
            start.container,
            image,
            start.container.get("entryPoint"),
            start.container.get("command"),
            {
                "AWS_EXECUTION_ENV": f"AWS_ECS_{start.task['launchType']}",
                **given,
                "ECS_CONTAINER_METADATA_URI_V4": metadata_uri,
            },
            overrides.get("taskRoleArn") or definition.get("taskRoleArn"),
            memory_mb=min(limits_mb, default=_MEMORY_MB),
            ephemeral_gb=storage.get("sizeInGiB", EPHEMERAL_GB),
            volumes=definition.get("volumes") or (),
        )


@dataclass(frozen=True, slots=True)
class _Start:
    """A container to be started, in ministack's records.

    Attributes:
        id: The task's.
        container: Its definition, with the command of the override.
        variables: Those of definition, override and secrets, and ministack's own.
    """

    id: str
    task: _Record
    definition: _Record
    container: _Record
    variables: dict[str, str]


@dataclass(frozen=True, slots=True)
class _DockerContainer:
    """A container with the names that ministack uses."""

    container: Container

    @property
    def id(self) -> str:
        """Docker's id."""
        return self.container.id

    @property
    def status(self) -> str:
        """Docker's word for its state."""
        return "exited" if self.container.ended else "running"

    def reload(self) -> None:
        """Nothing: the state is always fresh."""

    def wait(self) -> dict[str, int]:
        """The exit code of a container that has ended."""
        return {"StatusCode": self.container.exit_code}

    def stop(self, timeout: float) -> None:
        """Stop it."""
        self.container.stop(timeout)

    def remove(self, **_options: bool) -> None:
        """Nothing: nothing is left of it."""


def _start_of(
    container: _Record,
    definition: _Record,
    variables: dict[str, str],
    _ports: object,
    _network: object,
    _host_mode: object,
    task_id: str,
    task_arn: str,
    *_others: object,
) -> dict[str, _Start]:
    return {"start": _Start(task_id, ecs._tasks[task_arn], definition, container, variables)}


def _as_records(stock: Callable[..., Any]) -> Callable[..., Any]:
    """Run the function of ministack without a docker client."""

    @wraps(stock)
    def without_client(*arguments: Any) -> Any:  # noqa: ANN401 - whatever ministack passes
        token = _for_a_service.set(True)
        try:
            return stock(*arguments)
        finally:
            _for_a_service.reset(token)

    return without_client


def _is_active(task_arn: str, task: _Record) -> bool:
    """Like ministack's own, but a task that is being stopped is active until it has stopped."""
    return (
        ecs._tasks.get(task_arn) is task
        and not task.get("_ecs_resetting")
        and task.get("lastStatus") != "STOPPED"
    )
