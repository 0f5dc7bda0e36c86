"""Connections that idled for too long are not used again, counted by the server behind them."""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import struct
import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import boto3
import pytest
from airflow.sdk.api.client import Client
from airflow.sdk.execution_time import supervisor

from lambda_executor.contract.wire import InvocationId, Outcome, Result
from lambda_image.aws_calls import Idleness
from lambda_image.invocation.reporter import Reporter
from lambda_image.machine import time_limit
from lambda_image.runtime.api import connections
from lambda_image.runtime.api.connections import Clients, KeptConnections
from lambda_image.runtime.compat import http

RESULT = Result(id=InvocationId("id-1"), return_code=0, outcome=Outcome.COMPLETED, reason="")


class CountingServer:
    """Answers every request with `{}`, and counts connections.

    Attributes:
        silent: While it is set, a request gets no answer.
        resets: How many of the next requests are taken, and answered by a reset of TCP.
        taken: Set when a request has come that gets no answer.
        requests: Method and path of every request.
    """

    def __init__(self) -> None:
        self.connections = 0
        self.silent = threading.Event()
        self.taken = threading.Event()
        self.resets = 0
        self.requests: list[tuple[str, str]] = []
        self.ended = threading.Event()
        world = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def setup(self) -> None:
                super().setup()
                world.connections += 1

            def log_message(self, *_: Any) -> None:
                pass

            def do_POST(self) -> None:
                self.rfile.read(int(self.headers.get("Content-Length", 0)))
                world.requests.append((self.command, self.path))
                if world.resets:
                    world.resets -= 1
                    self.reset()
                    return
                if world.silent.is_set():
                    world.taken.set()
                    world.ended.wait(10)
                self.send_response(200)
                self.send_header("Content-Length", "2")
                self.end_headers()
                self.wfile.write(b"{}")

            def reset(self) -> None:
                linger = struct.pack("ii", 1, 0)
                self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
                self.rfile.close()
                self.wfile.close()
                self.connection.close()
                self.close_connection = True

            do_GET = do_PATCH = do_POST  # noqa: N815 - http.server's names

        self._http = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._http.daemon_threads = True
        self.url = f"http://127.0.0.1:{self._http.server_port}"
        threading.Thread(target=self._http.serve_forever, daemon=True).start()

    def close(self) -> None:
        """Stop answering."""
        self.ended.set()
        self._http.shutdown()
        self._http.server_close()


@pytest.fixture
def server() -> Iterator[CountingServer]:
    """One for each test."""
    made = CountingServer()
    yield made
    made.close()


@pytest.fixture
def clients() -> Iterator[Clients]:
    """Clients of Airflow's, with kept connections."""
    made = Clients(Client)
    yield made
    if made._kept is not None:
        made._kept.drop()


class Clock:
    """A clock that a test sets."""

    now_s = 0.0

    def idleness(self) -> Idleness:
        """Idleness by this clock alone."""
        return Idleness(lambda: self.now_s)


def test_the_execution_api_gets_a_new_connection_after_a_freeze(server: CountingServer) -> None:
    """A connection is kept until it has been idle for too long; nothing is connected before."""
    clock = Clock()
    kept = KeptConnections(http.Client, clock.idleness())
    assert server.connections == 0
    for _ in range(3):
        with http.Client(transport=kept, base_url=server.url) as client:
            client.get("/")
        clock.now_s += Idleness.LIMIT_S - 1
    assert server.connections == 1
    clock.now_s += Idleness.LIMIT_S + 1
    with http.Client(transport=kept, base_url=server.url) as client:
        client.patch("/")
    assert server.connections == 2
    kept.drop()


def test_sqs_gets_a_new_connection_after_a_freeze(server: CountingServer) -> None:
    """Results share a connection until it has been idle for too long."""
    clock = Clock()
    client = boto3.session.Session().client("sqs", endpoint_url=server.url)
    reporter = Reporter(lambda: client, idleness=clock.idleness())
    for _ in range(3):
        reporter.send(f"{server.url}/q", RESULT, _soon())
        clock.now_s += Idleness.LIMIT_S - 1
    assert server.connections == 1
    clock.now_s += Idleness.LIMIT_S + 1
    reporter.send(f"{server.url}/q", RESULT, _soon())
    assert server.connections == 2
    client.close()


def test_a_reporter_has_no_credentials_before_its_first_result(
    server: CountingServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A snapshot of the init phase holds nothing that expires, or that belongs to one of many."""
    monkeypatch.setenv("AWS_ENDPOINT_URL", server.url)
    monkeypatch.delenv("AWS_ACCESS_KEY_ID")
    monkeypatch.delenv("AWS_SECRET_ACCESS_KEY")
    reporter = Reporter.from_environment({})
    assert server.connections == 0
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "later")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "later")
    reporter.send(f"{server.url}/q", RESULT, _soon())
    assert server.requests == [("POST", "/")]
    assert reporter._client is not None
    reporter._client.close()


def test_an_interrupted_call_leaves_no_connection_behind(server: CountingServer) -> None:
    """The rest of an answer that nobody waited for does not become the answer to the next call."""
    kept = KeptConnections(http.Client)
    client = http.Client(transport=kept, base_url=server.url, timeout=None)
    client.patch("/")
    server.silent.set()
    ends = threading.Thread(target=_end_when, args=(server.taken, threading.get_ident()))
    ends.start()
    with pytest.raises(time_limit.OutOfTime), time_limit.until(_soon()):
        client.patch("/interrupted")
    ends.join()
    server.silent.clear()
    assert client.patch("/next").status_code == 200
    assert server.connections == 2
    kept.drop()


@pytest.mark.parametrize(("method", "times"), [("PATCH", 1), ("POST", 1), ("GET", 2)])
def test_what_may_have_been_taken_is_not_repeated(
    server: CountingServer, method: str, times: int
) -> None:
    """Only a read is sent again by itself: Airflow may have acted on anything else."""
    kept = KeptConnections(http.Client)
    client = http.Client(transport=kept, base_url=server.url)
    client.get("/")
    server.resets = 1
    lost = pytest.raises((http.ReadError, http.RemoteProtocolError))
    with contextlib.nullcontext() if method == "GET" else lost:
        client.request(method, "/taken")
    assert server.requests.count((method, "/taken")) == times
    assert server.resets == 0
    kept.drop()


def test_another_process_makes_its_own_connection(
    server: CountingServer, clients: Clients, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A fork of the handler does not write into its parent's connection."""
    for _ in range(2):
        clients.make(base_url=server.url, token="").get("/")
    assert server.connections == 1
    monkeypatch.setattr(os, "getpid", lambda: 1)
    clients.make(base_url=server.url, token="").get("/")
    assert server.connections == 2


def test_a_proxy_is_used_as_by_any_client(
    server: CountingServer, clients: Clients, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The way to the API server is the one that the variables say when a workload begins."""
    clients.make(base_url=server.url, token="").get("/direct")
    monkeypatch.setenv("HTTP_PROXY", server.url)
    clients.make(base_url="http://api-server.internal/", token="").get("/by-proxy")
    assert server.requests == [("GET", "/direct"), ("GET", "http://api-server.internal/by-proxy")]


def test_an_http_library_that_is_not_known_is_left_as_it_is(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Every workload then has its own connection, as in stock Airflow, and no task fails."""
    monkeypatch.setattr(supervisor, "Client", Client)
    monkeypatch.delattr(http.Client, "_transport_for_url")
    connections.install()
    assert vars(supervisor)["Client"] is Client


def _end_when(taken: threading.Event, thread_id: int) -> None:
    """End the time that a thread has, once the server has its request."""
    taken.wait(10)
    signal.pthread_kill(thread_id, signal.SIGALRM)


def _soon() -> float:
    """Longer than any of these takes."""
    return time.monotonic() + 30
