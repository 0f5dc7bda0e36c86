"""TLS in front of a server that speaks plain HTTP: counts handshakes, keeps and breaks connections.

One request at a time is on a connection, as Airflow's client and boto3 send them.
"""

from __future__ import annotations

import asyncio
import contextlib
import re
import socket
import ssl
import struct
import threading
from collections.abc import Iterator
from pathlib import Path

import trustme

_TOKEN = re.compile(rb"^authorization: bearer (.*?)\r$", re.IGNORECASE | re.MULTILINE)
_COOKIE = re.compile(rb"^cookie: (.*?)\r$", re.IGNORECASE | re.MULTILINE)
_REQUEST = re.compile(rb"^(GET|POST|PUT|PATCH|DELETE) (\S+) HTTP/1.1\r$", re.MULTILINE)

#: How long the front waits for the other side's goodbye. An idle client says none.
_GOODBYE_S = 0.2


class HttpsFront:
    """What happened on the front's connections, and what will.

    Attributes:
        port: Where it listens.
        handshakes: How many connections were made.
        requests: Method and path of every request.
        tokens: The bearer token of every request that had one.
        cookies: Every cookie that a request had.
        headers: Lines that are added to the next answer, then forgotten.
        resets: The ends of paths; the next request for one is not forwarded, and its connection
            is reset.
        latency_s: The one-way delay of the network in each direction, in seconds.
    """

    def __init__(self, behind_port: int, latency_s: float = 0.0) -> None:
        self.port = 0
        self.handshakes = 0
        self.requests: list[tuple[str, str]] = []
        self.tokens: list[str] = []
        self.cookies: list[str] = []
        self.headers: list[bytes] = []
        self.resets: list[str] = []
        self.latency_s = latency_s
        self._behind_port = behind_port
        self._open: set[asyncio.StreamWriter] = set()
        self._loop = asyncio.new_event_loop()

    @property
    def url(self) -> str:
        """Its address; the certificate is for this name."""
        return f"https://localhost:{self.port}"

    def close_idle(self) -> None:
        """Close every connection as a server does that has waited long enough for a request."""

        async def close() -> None:
            for writer in list(self._open):
                writer.close()
                with contextlib.suppress(OSError):
                    await writer.wait_closed()

        asyncio.run_coroutine_threadsafe(close(), self._loop).result(timeout=10)

    @contextlib.contextmanager
    def serving(self, ca: trustme.CA) -> Iterator[HttpsFront]:
        """Serve until the block ends."""
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        ca.issue_cert("localhost").configure_cert(context)
        # The delays of a network are below TLS, and a handshake has several of them.
        server = self._loop.run_until_complete(
            asyncio.start_server(
                self._serve, "127.0.0.1", 0, ssl=context, ssl_shutdown_timeout=_GOODBYE_S
            )
        )
        relay = self._loop.run_until_complete(
            asyncio.start_server(
                lambda reader, writer: self._relay(reader, writer, _port(server)), "127.0.0.1", 0
            )
        )
        self.port = _port(relay)
        thread = threading.Thread(target=self._loop.run_forever)
        thread.start()
        try:
            yield self
        finally:
            asyncio.run_coroutine_threadsafe(_end(server, relay), self._loop).result(timeout=10)
            self._loop.call_soon_threadsafe(self._loop.stop)
            thread.join(timeout=10)
            self._loop.close()

    async def _relay(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, port: int
    ) -> None:
        """A network: every byte arrives later, and the first a round trip after the connect."""
        await asyncio.sleep(2 * self.latency_s)  # TCP's own handshake.
        behind, into = await asyncio.open_connection("127.0.0.1", port)
        with contextlib.suppress(asyncio.CancelledError):  # At the front's own end.
            await asyncio.gather(self._delayed(reader, into), self._delayed(behind, writer))

    async def _delayed(self, source: asyncio.StreamReader, to: asyncio.StreamWriter) -> None:
        loop = asyncio.get_running_loop()
        try:
            while data := await source.read(65536):
                loop.call_later(self.latency_s, to.write, data)
        except ConnectionError:
            _reset(to)
        else:
            loop.call_later(self.latency_s, to.close)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.handshakes += 1
        self._open.add(writer)
        try:
            behind, into = await asyncio.open_connection("127.0.0.1", self._behind_port)
            with contextlib.suppress(OSError, asyncio.CancelledError):
                await asyncio.gather(
                    self._forward(reader, into, writer), self._answer(behind, writer)
                )
        finally:
            self._open.discard(writer)

    async def _forward(
        self, reader: asyncio.StreamReader, into: asyncio.StreamWriter, back: asyncio.StreamWriter
    ) -> None:
        with contextlib.suppress(OSError):
            while data := await reader.read(65536):
                if self._is_reset(data):
                    _reset(back)
                    break
                self.tokens += [token.decode() for token in _TOKEN.findall(data)]
                self.cookies += [cookie.decode() for cookie in _COOKIE.findall(data)]
                into.write(data)
                await into.drain()
        into.close()

    async def _answer(self, behind: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(OSError):
            while data := await behind.read(65536):
                if self.headers and data.startswith(b"HTTP/1.1 "):
                    data = data.replace(b"\r\n", b"\r\n" + b"".join(self.headers), 1)
                    self.headers.clear()
                writer.write(data)
                await writer.drain()
        writer.close()

    def _is_reset(self, data: bytes) -> bool:
        for method, path in _REQUEST.findall(data):
            self.requests.append((method.decode(), path.decode()))
            for end in self.resets:
                if path.decode().endswith(end):
                    self.resets.remove(end)
                    return True
        return False


def trusted(folder: Path) -> tuple[trustme.CA, dict[str, str]]:
    """An authority, and the variables by which Airflow's client and boto3 trust it."""
    ca, file = trustme.CA(), folder / "ca.pem"
    ca.cert_pem.write_to_path(str(file))
    return ca, {"AIRFLOW__API__SSL_CERT": str(file), "AWS_CA_BUNDLE": str(file)}


def _port(server: asyncio.Server) -> int:
    return int(server.sockets[0].getsockname()[1])


def _reset(writer: asyncio.StreamWriter) -> None:
    """End a connection with TCP's reset, without the goodbyes of TCP and TLS."""
    raw = writer.get_extra_info("socket")
    raw.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    writer.transport.abort()


async def _end(*servers: asyncio.Server) -> None:
    for server in servers:
        server.close()
    others = asyncio.all_tasks() - {asyncio.current_task()}
    for task in others:
        task.cancel()
    await asyncio.gather(*others, return_exceptions=True)
