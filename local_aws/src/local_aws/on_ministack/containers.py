"""Containers of ECS tasks and of Batch jobs: from the image store into a sandbox."""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ministack.core.responses import get_account_id, get_region, request_scope
from ministack.services import ecs

from local_aws.images.store import Image, ImageStore, image_name
from local_aws.on_ministack.file_systems import FileSystems
from local_aws.on_ministack.role_sessions import role_session
from local_aws.sandbox.container import Container
from local_aws.sandbox.sandbox import Confinement, RuntimeCommand, Sandbox

#: The ephemeral storage of a task that does not say how much it needs:
#: https://docs.aws.amazon.com/AmazonECS/latest/developerguide/fargate-task-storage.html
EPHEMERAL_GB = 20
#: Parts of a container definition that would change what runs, and that a sandbox does not have.
_UNKNOWN = ("workingDirectory",)


@dataclass(frozen=True, slots=True)
class ContainerSpec:
    """A container to be started.

    Attributes:
        definition: The container definition of the task or the job.
        image: The URI of its image.
        entry_point: Instead of the image's; None: the image's.
        command: Instead of the image's; None: the image's.
        role: The ARN of the role whose session it gets; None: none.
        volumes: Those of the task or the job.
    """

    definition: Mapping[str, Any]
    image: str
    entry_point: Sequence[str] | None
    command: Sequence[str] | None
    variables: Mapping[str, str]
    role: str | None
    memory_mb: int
    ephemeral_gb: int = EPHEMERAL_GB
    volumes: Sequence[Mapping[str, Any]] = ()


class Containers:
    """Starts containers; `client_variables` point their AWS clients at this AWS."""

    def __init__(
        self,
        images: ImageStore,
        client_variables: Mapping[str, str],
        confinement: Confinement,
        file_systems: FileSystems,
    ) -> None:
        self._images = images
        self._client_variables = client_variables
        self._confinement = confinement
        self._file_systems = file_systems
        self._lock = threading.Lock()
        self._started: list[Container] = []

    @property
    def endpoint_url(self) -> str:
        """The URL of this AWS."""
        return self._client_variables["AWS_ENDPOINT_URL"]

    def start(self, spec: ContainerSpec, task_id: str) -> Container:
        """Start a container of a task, whose output goes to its log stream line by line.

        Raises:
            ImageError: There is no such image.
            ValueError: A sandbox does not have all of the definition, or its log group is missing.
            OSError: The sandbox cannot be started.
        """
        if unknown := [name for name in _UNKNOWN if spec.definition.get(name)]:
            raise ValueError(f"the embedded AWS has no {', '.join(unknown)}: leave it out")
        image = Image.read(self._images.find(image_name(spec.image)))
        log = _log_writer(spec.definition, task_id)
        sandbox = Sandbox(self._command(spec, image, task_id), self._confinement)
        container = Container(sandbox, log)
        with self._lock:
            self._started = [other for other in self._started if not other.ended] + [container]
        return container

    def close(self) -> None:
        """Kill every container."""
        with self._lock:
            started = self._started
        for container in started:
            container.kill()

    def _command(self, spec: ContainerSpec, image: Image, task_id: str) -> RuntimeCommand:
        command = spec.command or (() if spec.entry_point else image.command)
        certificate = self._client_variables.get("AWS_CA_BUNDLE")
        return RuntimeCommand(
            [*(spec.entry_point or image.entry_point), *command],
            Path(image.working_directory),
            {
                "PATH": "/usr/local/bin:/usr/bin:/bin",
                **image.variables,
                "AWS_REGION": get_region(),
                "AWS_DEFAULT_REGION": get_region(),
                **spec.variables,
                **(role_session(spec.role, task_id) if spec.role else {}),
                **self._client_variables,
            },
            memory_mb=spec.memory_mb,
            tmp_mb=spec.ephemeral_gb * 1024,
            readable=(*image.readable, *([Path(certificate)] if certificate else [])),
            writable=image.writable,
            mounts=self._file_systems.of_container(
                spec.definition.get("mountPoints") or (), spec.volumes, spec.role
            ),
        )


def _log_writer(definition: Mapping[str, Any], task_id: str) -> Callable[[str], None]:
    """What writes a line to a container's log stream; nothing without the driver `awslogs`.

    Raises:
        ValueError: There is no such log group, and it shall not be made.
    """
    config = ecs._awslogs_config(definition, task_id, task_id)
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
