"""A server in AWS's place for the native client, and the client that sends to it."""

from __future__ import annotations

import queue
import socket
import ssl
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import boto3

from lambda_executor.aws import Clients, LambdaFunctions, Patience
from lambda_executor.contract.errors import AwsError
from lambda_executor.core.targets import FunctionTarget

#: The function that is invoked.
TARGET = FunctionTarget("fn")
PAYLOAD = b'{"task_key": "x"}'


class Server(ThreadingHTTPServer):
    """Answers every request in the same way, and keeps what it was sent."""

    daemon_threads = True

    def __init__(self, status: int, body: bytes, error_type: str) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.status, self.body, self.error_type = status, body, error_type
        self.seen: list[tuple[str, str, dict[str, str], bytes]] = []
        self.connections = 0
        self.tunnel_to: tuple[str, int] | None = None
        self.closes_after_each = False
        self.ahead_s = 0.0  # How far its clock is ahead.
        self.ended = threading.Event()

    @property
    def url(self) -> str:
        """Its endpoint."""
        return f"http://127.0.0.1:{self.server_address[1]}"

    def get_request(self) -> Any:
        """Count the connections."""
        self.connections += 1
        return super().get_request()


class Handler(BaseHTTPRequestHandler):
    """One connection; as a proxy it permits tunnels to one address, or none."""

    protocol_version = "HTTP/1.1"
    server: Server

    def do_POST(self) -> None:
        """Keep and answer."""
        body = self.rfile.read(int(self.headers["Content-Length"]))
        headers = {name.lower(): value for name, value in self.headers.items()}
        self.server.seen.append((self.command, self.path, headers, body))
        self.send_response(self.server.status)
        if self.server.error_type:
            self.send_header("x-amzn-ErrorType", self.server.error_type)
        self.send_header("Content-Length", str(len(self.server.body)))
        self.end_headers()
        self.wfile.write(self.server.body)
        # Without the header that would announce it.
        self.close_connection = self.server.closes_after_each

    def do_CONNECT(self) -> None:
        """Keep the request; connect, or refuse."""
        headers = {name.lower(): value for name, value in self.headers.items()}
        self.server.seen.append((self.command, self.path, headers, b""))
        self.send_response(200 if self.server.tunnel_to else 403)
        if not self.server.tunnel_to:
            self.send_header("Content-Length", "0")
        self.end_headers()
        if self.server.tunnel_to:
            with socket.create_connection(self.server.tunnel_to) as upstream:
                back = threading.Thread(target=copy, args=(upstream, self.connection))
                back.start()
                copy(self.connection, upstream)
                back.join(10)
            self.close_connection = True

    def finish(self) -> None:
        """Note that the connection has ended."""
        super().finish()
        self.server.ended.set()

    def date_time_string(self, timestamp: float | None = None) -> str:
        """Return the time by the server's clock."""
        now_s = time.time() if timestamp is None else timestamp
        return super().date_time_string(now_s + self.server.ahead_s)

    def log_message(self, *_: Any) -> None:
        """Say nothing."""


def copy(source: socket.socket, target: socket.socket) -> None:
    """Copy one direction of a tunnel, to its end."""
    with suppress(OSError):
        while part := source.recv(65536):
            target.sendall(part)
        target.shutdown(socket.SHUT_WR)


@contextmanager
def serving(
    status: int = 202, body: bytes = b"", error_type: str = "", tls: ssl.SSLContext | None = None
) -> Iterator[Server]:
    """A server that runs."""
    with Server(status, body, error_type) as server:
        if tls:
            server.socket = tls.wrap_socket(
                server.socket, server_side=True, do_handshake_on_connect=False
            )
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        yield server
        server.shutdown()
        thread.join(10)


def clients(session: Any = boto3.Session, *, connect_s: float = 10, read_s: float = 5) -> Clients:
    """The clients of one executor."""
    patience = Patience(connect_s=connect_s, read_s=read_s, attempts=1)
    return Clients(session, region_name="eu-west-1", connections=1, patience=patience)


def send(functions: LambdaFunctions, target: FunctionTarget = TARGET) -> None:
    """Invoke by awscrt, and wait for the outcome."""
    ended: queue.Queue[AwsError | None] = queue.Queue()
    assert functions.begin(target, PAYLOAD, ended.put), "awscrt did not send"
    if error := ended.get(timeout=20):
        raise error
