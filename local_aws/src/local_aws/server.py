"""The process: its settings, its log file, ministack and the data plane together.

ministack's modules read their settings from environment variables while they are imported, so
this module sets the variables first and imports ministack inside functions.
"""

from __future__ import annotations

import asyncio
import logging
import os
import resource
import socket
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from local_aws import http_server
from local_aws.fault_injection.faults import Faults
from local_aws.fault_injection.functions import RuledFaults
from local_aws.http_server import Certificate
from local_aws.images.store import ImageStore
from local_aws.lambda_service.async_queue import AsyncSettings
from local_aws.lambda_service.pool import Limits
from local_aws.micro_vm_service.limits import MicroVmLimits
from local_aws.on_ministack.front import App, Front
from local_aws.sandbox.sandbox import Confinement
from local_aws.state_lock import sole_use

if TYPE_CHECKING:
    from local_aws.on_ministack.batch_runner import BatchRunner
    from local_aws.on_ministack.containers import Containers
    from local_aws.on_ministack.data_plane import DataPlane
    from local_aws.on_ministack.micro_vm_api import MicroVmApi


@dataclass(frozen=True, slots=True)
class Settings:
    """The command line's options, which `python -m local_aws --help` explains."""

    host: str
    port: int
    state_dir: Path
    enforce_iam: bool
    certificate: Certificate | None
    limits: Limits
    sandbox: str
    asynchronous: AsyncSettings
    micro_vm_limits: MicroVmLimits
    without_fixes: frozenset[str]


@dataclass(frozen=True, slots=True)
class _Running:
    """What runs in sandboxes."""

    data_plane: DataPlane
    jobs: BatchRunner
    containers: Containers
    micro_vms: MicroVmApi

    def close(self) -> None:
        """End all of it."""
        self.data_plane.close()
        self.jobs.close()
        self.containers.close()
        self.micro_vms.close()


def serve(settings: Settings, announce: Callable[[str], None]) -> None:
    """Run the embedded AWS until SIGTERM or SIGINT; call `announce` with its URL when it answers.

    Raises:
        OSError: The address is not available; or the state directory is not writable, or another
            process uses it.
        ValueError: `without_fixes` has an unknown name, or the sandbox does not work here.
    """
    state_dir = settings.state_dir.resolve()
    with sole_use(state_dir):
        _serve(settings, state_dir, announce)


def _serve(settings: Settings, state_dir: Path, announce: Callable[[str], None]) -> None:
    images = ImageStore(state_dir / "images")
    try:
        listener = socket.create_server((settings.host, settings.port), backlog=1024)
    except OSError as e:
        raise OSError(f"cannot listen on {settings.host}:{settings.port}: {e.strerror}") from e
    host, port = listener.getsockname()[:2]
    scheme = "https" if settings.certificate else "http"
    endpoint_url = f"{scheme}://{host}:{port}"
    _configure_process(settings, state_dir, endpoint_url)
    confinement = Confinement.choose(settings.sandbox)
    logging.getLogger("local_aws").info("execution environments: %s", confinement)
    app, running = _build(settings, images, endpoint_url, confinement)

    try:
        front = Front(app, lambda: announce(endpoint_url))
        asyncio.run(http_server.serve(front, listener, settings.certificate, running.close))
    finally:
        running.close()
        confinement.close()
        logging.shutdown()


def _configure_process(settings: Settings, state_dir: Path, endpoint_url: str) -> None:
    """Set everything that ministack reads from its process at import."""
    temporary = state_dir / "tmp"
    temporary.mkdir(parents=True, exist_ok=True)
    host, port = endpoint_url.partition("://")[2].rsplit(":", 1)
    os.environ.update(
        GATEWAY_PORT=port,
        BIND_HOST=host,
        MINISTACK_HOST=host,
        AWS_ENDPOINT_URL=endpoint_url,
        AWS_ACCESS_KEY_ID="test",
        AWS_SECRET_ACCESS_KEY="test",  # noqa: S106 - every client uses it
        AWS_EC2_METADATA_DISABLED="true",
        AUTH="true" if settings.enforce_iam else "false",
        SFTP_ENABLED="0",
        IOT_MTLS_ENABLED="0",
        TMPDIR=str(temporary),
        STATE_DIR=str(state_dir / "ministack"),
        S3_DATA_DIR=str(state_dir / "ministack" / "s3"),
    )
    if certificate := settings.certificate:
        # ministack does not serve TLS itself: it derives the URLs in its answers from these.
        os.environ.update(
            USE_SSL="1",
            MINISTACK_SSL_CERT=str(certificate.chain),
            MINISTACK_SSL_KEY=str(certificate.key),
            AWS_CA_BUNDLE=str(certificate.chain),
        )
    tempfile.tempdir = str(temporary)
    logging.basicConfig(
        filename=state_dir / "local-aws.log",
        level=logging.INFO,
        format="%(asctime)s %(levelname)s [%(name)s] %(message)s",
    )
    # ministack would log the functions' output, including any secrets in it.
    logging.getLogger("lambda").setLevel(logging.WARNING)
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft != hard:
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))


def _build(
    settings: Settings, images: ImageStore, endpoint_url: str, confinement: Confinement
) -> tuple[App, _Running]:
    from ministack.app import app  # noqa: PLC0415 - see the module's docstring

    from local_aws import fixes  # noqa: PLC0415
    from local_aws.fault_injection import calls, control, messages  # noqa: PLC0415
    from local_aws.fault_injection.requests import FaultyRequests  # noqa: PLC0415
    from local_aws.on_ministack.batch_jobs import BatchJobs  # noqa: PLC0415
    from local_aws.on_ministack.batch_runner import BatchRunner  # noqa: PLC0415
    from local_aws.on_ministack.container_tasks import ContainerTasks  # noqa: PLC0415
    from local_aws.on_ministack.containers import Containers  # noqa: PLC0415
    from local_aws.on_ministack.controls import Controls, interruptions  # noqa: PLC0415
    from local_aws.on_ministack.data_plane import DataPlane  # noqa: PLC0415
    from local_aws.on_ministack.file_systems import FileSystems  # noqa: PLC0415
    from local_aws.on_ministack.micro_vm_api import MicroVmApi  # noqa: PLC0415

    variables = _client_variables(settings, endpoint_url)
    faults = Faults(calls.SERVICES)
    # The fixes check the permissions of what is then already the operation.
    micro_vms = MicroVmApi.make(images, variables, confinement, settings.micro_vm_limits)
    micro_vms.install()
    # Under TLS, policies already see a secure transport.
    needless = {"secure_transport"} if settings.certificate else set()
    fixes.apply(without=settings.without_fixes | needless)
    file_systems = FileSystems(settings.state_dir.resolve() / "efs")
    data_plane = DataPlane(
        *(images, variables, settings.limits, confinement, settings.asynchronous),
        file_systems=file_systems,
        faults=RuledFaults(faults),
    )
    containers = Containers(images, variables, confinement, file_systems)
    tasks, jobs = ContainerTasks(containers), BatchRunner(containers)
    data_plane.install()
    messages.install(faults)
    tasks.install()
    BatchJobs(jobs).install()
    jobs.start()
    spot = interruptions({"ecs": tasks.interrupt, "batch": jobs.interrupt})
    controls = Controls(
        FaultyRequests(app, faults),
        {("POST", "spot-interruptions"): spot, **control.controls(faults)},
    )
    return controls, _Running(data_plane, jobs, containers, micro_vms)


def _client_variables(settings: Settings, endpoint_url: str) -> dict[str, str]:
    """Variables that point the AWS clients in a sandbox at this AWS and make them trust it."""
    trust = {"AWS_CA_BUNDLE": str(settings.certificate.chain)} if settings.certificate else {}
    return {"AWS_ENDPOINT_URL": endpoint_url, "AWS_EC2_METADATA_DISABLED": "true"} | trust
