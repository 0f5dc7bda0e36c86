"""Serves ministack, the fixes and the data plane on one socket until it is told to stop.

It owns the process: the socket, ministack's settings (environment variables, which its modules
read while they are imported), the log file and the order of start and stop.
"""

from __future__ import annotations

import asyncio
import logging
import os
import resource
import signal
import socket
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from local_aws.images.store import ImageStore
from local_aws.lambda_service.async_queue import AsyncSettings
from local_aws.lambda_service.pool import Limits
from local_aws.on_ministack.front import App, Front
from local_aws.sandbox.sandbox import Confinement

if TYPE_CHECKING:
    from local_aws.on_ministack.data_plane import DataPlane

#: Seconds that requests under way may take to end after the signal to stop.
_GRACE_S = 0.5


@dataclass(frozen=True, slots=True)
class Certificate:
    """What the server shows its clients under TLS: PEM files.

    Attributes:
        chain: The certificate; its clients, the functions among them, are told to trust it.
        key: Its private key.
    """

    chain: Path
    key: Path


@dataclass(frozen=True, slots=True)
class Settings:
    """What the command line says.

    Attributes:
        host: The address to listen on.
        port: The port; 0: a free one.
        state_dir: Where images and logs are.
        enforce_iam: Whether requests need permissions.
        certificate: For TLS; None: plain HTTP.
        limits: What bounds the execution environments.
        sandbox: What sandboxes are to be made of: `auto`, `bwrap` or `process`.
        asynchronous: How asynchronous invocations are delivered.
        without_fixes: Names of fixes to leave out.
    """

    host: str
    port: int
    state_dir: Path
    enforce_iam: bool
    certificate: Certificate | None
    limits: Limits
    sandbox: str
    asynchronous: AsyncSettings
    without_fixes: frozenset[str]


def serve(settings: Settings, announce: Callable[[str], None]) -> None:
    """Run the embedded AWS until SIGTERM or SIGINT.

    Args:
        settings: What the command line says.
        announce: Called with the endpoint URL once it answers.

    Raises:
        OSError: The address cannot be listened on, or the state directory not written.
        ValueError: There is no fix of a name in `without_fixes`, or no such sandbox here.
    """
    state_dir = settings.state_dir.resolve()
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
    app, data_plane = _build(settings, images, endpoint_url, confinement)
    try:
        asyncio.run(
            _serve(app, listener, settings.certificate, data_plane, lambda: announce(endpoint_url))
        )
    finally:
        data_plane.close()
        confinement.close()
        logging.shutdown()


def _configure_process(settings: Settings, state_dir: Path, endpoint_url: str) -> None:
    """Everything ministack reads from its process, before its first import."""
    temporary = state_dir / "tmp"
    temporary.mkdir(parents=True, exist_ok=True)
    host, port = endpoint_url.partition("://")[2].rsplit(":", 1)
    os.environ.update(
        GATEWAY_PORT=port,
        BIND_HOST=host,
        MINISTACK_HOST=host,
        AWS_ENDPOINT_URL=endpoint_url,
        AWS_ACCESS_KEY_ID="test",
        AWS_SECRET_ACCESS_KEY="test",  # noqa: S106 - what every client of it uses
        AWS_EC2_METADATA_DISABLED="true",
        AUTH="true" if settings.enforce_iam else "false",
        SFTP_ENABLED="0",
        IOT_MTLS_ENABLED="0",
        TMPDIR=str(temporary),
        STATE_DIR=str(state_dir / "ministack"),
        S3_DATA_DIR=str(state_dir / "ministack" / "s3"),
    )
    if certificate := settings.certificate:
        # ministack itself serves nothing here: it makes the addresses in its answers by this.
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
    # ministack would log what functions print, and with it whatever secrets are in there.
    logging.getLogger("lambda").setLevel(logging.WARNING)
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft != hard:
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))


def _build(
    settings: Settings, images: ImageStore, endpoint_url: str, confinement: Confinement
) -> tuple[App, DataPlane]:
    # ministack reads its settings when it is imported, so nothing that imports it stands above.
    from ministack.app import app  # noqa: PLC0415

    from local_aws import fixes  # noqa: PLC0415
    from local_aws.on_ministack.data_plane import DataPlane  # noqa: PLC0415

    # Under TLS the transport of every request is what policies see.
    needless = {"secure_transport"} if settings.certificate else set()
    fixes.apply(images, without=settings.without_fixes | needless)
    data_plane = DataPlane(
        images,
        _client_variables(settings, endpoint_url),
        settings.limits,
        confinement,
        settings.asynchronous,
    )
    data_plane.install()
    return app, data_plane


def _client_variables(settings: Settings, endpoint_url: str) -> dict[str, str]:
    """What makes an AWS client in a function's environment talk to this AWS, and trust it."""
    trust = {"AWS_CA_BUNDLE": str(settings.certificate.chain)} if settings.certificate else {}
    return {"AWS_ENDPOINT_URL": endpoint_url, "AWS_EC2_METADATA_DISABLED": "true"} | trust


async def _serve(
    app: App,
    listener: socket.socket,
    certificate: Certificate | None,
    data_plane: DataPlane,
    announce: Callable[[], None],
) -> None:
    from hypercorn.asyncio import serve as hypercorn_serve  # noqa: PLC0415 - as above
    from hypercorn.config import Config  # noqa: PLC0415

    config = Config()
    config.bind = [f"fd://{listener.detach()}"]
    if certificate:
        config.certfile, config.keyfile = str(certificate.chain), str(certificate.key)
    config.keep_alive_timeout = 75
    config.graceful_timeout = _GRACE_S
    config.errorlog = logging.getLogger("hypercorn")
    front = Front(app, announce)
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)

    async def stopping() -> None:
        await stop.wait()
        # Before the server ends: it would wait for the invocations that are under way.
        await asyncio.to_thread(data_plane.close)
        front.end_requests()

    await hypercorn_serve(front, config, shutdown_trigger=stopping)
