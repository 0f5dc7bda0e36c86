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
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import wraps
from pathlib import Path
from typing import Any

from ministack.core.concurrency import resource_lock
from ministack.core.responses import get_account_id, get_region, json_response, request_scope
from ministack.services import ecs

from local_aws.images.store import Image, ImageError, ImageStore, image_name
from local_aws.on_ministack.role_sessions import role_session
from local_aws.sandbox.container import Container
from local_aws.sandbox.sandbox import Confinement, RuntimeCommand

_Record = dict[str, Any]

#: https://docs.aws.amazon.com/AmazonECS/latest/APIReference/API_ContainerDefinition.html
_STOP_TIMEOUT_S = 30
_MEMORY_MB = 512
_EPHEMERAL_GB = 20
#: ministack's words, and those of
#: https://docs.aws.amazon.com/AmazonECS/latest/developerguide/stopped-task-error-codes.html
_REASONS = {"Essential container exited": "Essential container in task exited"}
#: Parts of a container definition that would change what runs, and that a sandbox does not have.
_UNKNOWN = ("workingDirectory", "mountPoints")
#: ministack's address of its own credentials, which no sandbox can reach.
_NOT_FOR_SANDBOXES = ("AWS_CONTAINER_CREDENTIALS_FULL_URI", "AWS_CONTAINER_AUTHORIZATION_TOKEN")

_for_a_service = contextvars.ContextVar("for_a_service", default=False)


class ContainerTasks:
    """Runs the containers of tasks; `client_variables` point their AWS clients at this AWS.

    Attributes:
        containers: This object itself, as ministack calls `docker_client.containers.run`.
    """

    def __init__(
        self, images: ImageStore, client_variables: Mapping[str, str], confinement: Confinement
    ) -> None:
        self._images = images
        self._client_variables = client_variables
        self._confinement = confinement
        self._running: dict[str, _DockerContainer] = {}
        self.containers = self

    def install(self) -> None:
        """Become the docker client of ministack's ECS."""
        stock_stopped, stock_stop = ecs._mark_task_stopped, ecs._stop_task

        def mark_stopped(
            arn: str, task: _Record, reason: str, code: str, exit_code: int | None = None
        ) -> bool:
            reason, code = task.get("_stop") or (_REASONS.get(reason, reason), code)
            for index, container in enumerate(self._of(task)):
                container.container.kill()
                task["containers"][index]["exitCode"] = container.container.exit_code
            return bool(stock_stopped(arn, task, reason, code, exit_code))

        def stop_task(request: _Record) -> Any:  # noqa: ANN401 - ministack's answer
            cluster = ecs._resolve_cluster_name(request.get("cluster", "default"))
            task = ecs._resolve_task(request.get("task", ""), cluster)
            if not task or task["lastStatus"] == "STOPPED" or not self._of(task):
                return stock_stop(request)
            self._stop(task, request.get("reason", "Task stopped by user"))
            return json_response({"task": ecs._sanitize(task)})

        ecs._get_docker = lambda: None if _for_a_service.get() else self
        ecs._reconcile_service_tasks = _as_records(ecs._reconcile_service_tasks)
        ecs._build_run_kwargs = _start_of
        # Each container writes its own log.
        ecs._start_awslogs_forwarder = lambda *_: None
        ecs._task_is_active = _is_active
        ecs._mark_task_stopped = mark_stopped
        ecs._stop_task = ecs._ACTION_MAP["StopTask"] = stop_task

    def close(self) -> None:
        """Kill every container."""
        for container in list(self._running.values()):
            container.container.kill()

    def run(self, image: str, *, start: _Start) -> _DockerContainer:
        """Start a container (for ministack).

        Raises:
            ecs._ImagePullError: There is no such image.
            ValueError: A sandbox does not have all of the definition, or its log group is missing.
            OSError: The sandbox cannot be started.
        """
        if unknown := [name for name in _UNKNOWN if start.container.get(name)]:
            raise ValueError(f"the embedded AWS has no {', '.join(unknown)}: leave it out")
        try:
            found = Image.read(self._images.find(image_name(image)))
        except ImageError as e:
            raise ecs._ImagePullError(str(e)) from e
        container = Container(self._command(start, found), self._confinement, _log_of(start))
        self._running[container.id] = _DockerContainer(container)
        return self._running[container.id]

    def get(self, container_id: str) -> _DockerContainer:
        """Find a container (for ministack).

        Raises:
            KeyError: There is none.
        """
        return self._running[container_id]

    def _of(self, task: _Record) -> list[_DockerContainer]:
        return [self._running[id] for id in task.get("_docker_ids") or [] if id in self._running]

    def _stop(self, task: _Record, reason: str) -> None:
        """Have each container stop on a thread; ministack notices their end."""
        with resource_lock("ecs-task", task["taskArn"]):
            if "_stop" in task:
                return
            task["_stop"] = (reason, "UserInitiated")
            task["desiredStatus"] = "STOPPED"
            task["stoppingAt"] = ecs._iso()
        definition = ecs._task_defs[ecs._resolve_td_key(task["taskDefinitionArn"])]
        for container, described in zip(
            self._of(task), definition["containerDefinitions"], strict=False
        ):
            grace_s = float(described.get("stopTimeout") or _STOP_TIMEOUT_S)
            threading.Thread(target=container.container.stop, args=[grace_s], daemon=True).start()

    def _command(self, start: _Start, image: Image) -> RuntimeCommand:
        definition, overrides = start.definition, start.task["overrides"]
        own_entry_point = start.container.get("entryPoint")
        command = start.container.get("command") or (() if own_entry_point else image.command)
        role = overrides.get("taskRoleArn") or definition.get("taskRoleArn")
        ephemeral = (definition.get("ephemeralStorage") or {}).get("sizeInGiB", _EPHEMERAL_GB)
        given = {k: v for k, v in start.variables.items() if k not in _NOT_FOR_SANDBOXES}
        _, metadata, token = given.pop("ECS_CONTAINER_METADATA_URI_V4").partition("/v4/")
        endpoint_url = self._client_variables["AWS_ENDPOINT_URL"]
        certificate = self._client_variables.get("AWS_CA_BUNDLE")
        return RuntimeCommand(
            [*(own_entry_point or image.entry_point), *command],
            Path(image.working_directory),
            {
                "PATH": "/usr/local/bin:/usr/bin:/bin",
                **image.variables,
                "AWS_EXECUTION_ENV": "AWS_ECS_FARGATE",
                "AWS_REGION": get_region(),
                "AWS_DEFAULT_REGION": get_region(),
                **given,
                "ECS_CONTAINER_METADATA_URI_V4": f"{endpoint_url}{metadata}{token}",
                **(role_session(role, start.id) if role else {}),
                **self._client_variables,
            },
            memory_mb=int(
                overrides.get("memory")
                or definition.get("memory")
                or start.container.get("memory")
                or _MEMORY_MB
            ),
            tmp_mb=ephemeral * 1024,
            readable=(*image.readable, *([Path(certificate)] if certificate else [])),
            writable=image.writable,
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


def _log_of(start: _Start) -> Callable[[str], None]:
    """What writes a line to the container's log stream; nothing without the driver `awslogs`.

    Raises:
        ValueError: There is no such log group, and it shall not be made.
    """
    config = ecs._awslogs_config(start.container, start.id, start.id)
    if config is None:
        return lambda _line: None
    account, region = get_account_id(), config["region"] or get_region()

    def log(line: str) -> None:
        if line:
            with request_scope(account, region):
                ecs._emit_awslogs_event(config, line)

    with request_scope(account, region):
        if not ecs._ensure_awslogs_stream(config):
            raise ValueError(
                f"failed to create the log stream: the log group {config['group']} does not exist"
            )
    return log


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
