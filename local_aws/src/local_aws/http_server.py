"""Serves the application over HTTP or TLS until a signal to stop."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import signal
import socket
import ssl
import struct
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hypercorn.asyncio import serve as hypercorn_serve
from hypercorn.asyncio.tcp_server import TCPServer
from hypercorn.config import Config

from local_aws.on_ministack.front import CONNECTION, Front

#: Seconds for requests in progress to end after the signal to stop.
_GRACE_S = 0.5


@dataclass(frozen=True, slots=True)
class Certificate:
    """PEM files for TLS; functions are configured to trust the chain."""

    chain: Path
    key: Path


@dataclass(frozen=True, slots=True)
class Connection:
    """The connection to a client. ASGI has no way to end it without an answer."""

    writer: asyncio.StreamWriter

    def reset(self) -> None:
        """End it at once with a reset."""
        linger = struct.pack("ii", 1, 0)
        self.writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
        self.close()

    def close(self) -> None:
        """End it at once; what is sent later goes nowhere."""
        self.writer.transport.abort()


async def serve(
    front: Front,
    listener: socket.socket,
    certificate: Certificate | None,
    end_invocations: Callable[[], None],
) -> None:
    """Serve until SIGTERM or SIGINT; then call `end_invocations` and end the open requests."""
    _close_without_the_clients_answer()
    _name_the_connection()
    config = Config()
    config.bind = [f"fd://{listener.detach()}"]
    if certificate:
        config.certfile, config.keyfile = str(certificate.chain), str(certificate.key)
    config.keep_alive_timeout = 75
    config.graceful_timeout = _GRACE_S
    config.errorlog = logging.getLogger("hypercorn")
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)

    async def stopping() -> None:
        await stop.wait()
        # The server would otherwise wait for the invocations in progress.
        await asyncio.to_thread(end_invocations)
        front.end_requests()

    await hypercorn_serve(front, config, shutdown_trigger=stopping)


def _close_without_the_clients_answer() -> None:
    """Let the end of TLS pass without an error if the client does not answer it in time.

    A client does not read from an idle connection, and so does not notice that the server closes
    it. hypercorn lets the error pass, which asyncio logs with a traceback.
    """
    stock = TCPServer._close  # noqa: SLF001 - hypercorn has no setting for it

    async def close(server: TCPServer) -> None:
        ending = server.context.terminated.is_set()
        with contextlib.suppress(TimeoutError, ssl.SSLError):
            await asyncio.wait_for(stock(server), _GRACE_S if ending else None)
        if ending:
            # asyncio would wait half a minute for each idle client, and the process with it.
            server.writer.transport.abort()

    TCPServer._close = close  # noqa: SLF001 - as above


def _name_the_connection() -> None:
    """Put its connection into the state of each request."""
    stock = TCPServer.__init__

    def init(server: TCPServer, *args: Any, **options: Any) -> None:  # noqa: ANN401 - passed through
        stock(server, *args, **options)
        # All connections have one state; each request gets a copy of its connection's.
        server.state = {**server.state, CONNECTION: Connection(server.writer)}

    TCPServer.__init__ = init
