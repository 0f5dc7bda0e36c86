"""Each way in which the Execution API fails has its own reason and its own remedy.

Airflow's own client calls real servers of this machine that misbehave.
"""

from __future__ import annotations

import contextlib
import socket
import ssl
import threading
import uuid
from collections.abc import Iterator
from datetime import UTC, datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest
import trustme
from airflow.sdk.api.client import Client

from lambda_image.runtime.api import errors
from lambda_image.runtime.api.attempts import one_attempt

TIMEOUT_S = 1.0


class Answers(BaseHTTPRequestHandler):
    """Answers every call with the server's status, headers and body; status 0: not at all."""

    server: Any
    protocol_version = "HTTP/1.1"

    def log_message(self, *_: Any) -> None:
        """Write no line."""

    def do_PATCH(self) -> None:
        """Answer."""
        status, headers, body = self.server.answer
        self.rfile.read(int(self.headers.get("Content-Length", 0)))
        if not status:
            self.close_connection = True
            return
        self.send_response(status)
        for name, value in {"Content-Length": str(len(body)), **headers}.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(body)

    do_CONNECT = do_PATCH  # noqa: N815 - http.server's name


@pytest.fixture
def server() -> Iterator[Any]:
    """A server that answers as told."""
    made: Any = ThreadingHTTPServer(("127.0.0.1", 0), Answers)
    made.daemon_threads = True
    made.answer = (200, {}, b"{}")
    threading.Thread(target=made.serve_forever, daemon=True).start()
    yield made
    made.shutdown()
    made.server_close()


def error_of(url: str) -> Exception:
    """Why the start of a task cannot be reported to this URL."""
    with Client(base_url=url, token="token", timeout=TIMEOUT_S) as client, one_attempt(client):
        try:
            client.task_instances.start(uuid.uuid4(), 1, datetime.now(tz=UTC))
        except Exception as e:  # noqa: BLE001 - any is looked at
            return e
    raise AssertionError("it did not fail")


def check(url: str, says: str, *, passes: bool) -> None:
    """Check the reason, and whether the call is repeated."""
    error = error_of(url)
    reason = errors.reason(error, url)
    assert says in reason, reason
    assert url in reason or "token" in reason
    assert errors.is_passing(error) is passes, repr(error)


def url_of(server: Any, scheme: str = "http") -> str:
    """The server's URL."""
    return f"{scheme}://127.0.0.1:{server.server_port}/execution/"


def test_nothing_listens() -> None:
    """A refused connection: the API server does not run, or has another port."""
    with socket.create_server(("127.0.0.1", 0)) as closed:
        port = closed.getsockname()[1]
    check(f"http://127.0.0.1:{port}/execution/", "refused the connection", passes=True)


def test_no_such_name() -> None:
    """A name that cannot be resolved is a matter of DNS."""
    check("http://api.airflow.invalid/execution/", "cannot resolve, api.airflow.inv", passes=True)


def test_no_answer_to_the_connection() -> None:
    """Packets that are lost on the way are a matter of security groups and routes."""
    with contextlib.ExitStack() as stack:
        full = stack.enter_context(socket.socket())
        full.bind(("127.0.0.1", 0))
        full.listen(0)
        for _ in range(4):  # Linux drops the connections beyond the backlog.
            waiting = stack.enter_context(socket.socket())
            waiting.setblocking(False)
            waiting.connect_ex(full.getsockname())
        url = f"http://127.0.0.1:{full.getsockname()[1]}/execution/"
        check(url, "security groups", passes=True)


def test_a_slow_server() -> None:
    """A server that takes the connection and does not answer is slow, not away."""
    with socket.create_server(("127.0.0.1", 0)) as silent:
        url = f"http://127.0.0.1:{silent.getsockname()[1]}/execution/"
        check(url, "is too slow", passes=True)
        assert "AIRFLOW__WORKERS__EXECUTION_API_TIMEOUT" in errors.reason(error_of(url), url)


def test_a_closed_connection(server: Any) -> None:
    """A server that ends the connection was restarted or is overloaded."""
    server.answer = (0, {}, b"")
    check(url_of(server), "closed the connection without an answer", passes=True)


@pytest.fixture
def closing() -> Iterator[int]:
    """The port of a server that accepts connections and closes them."""
    with socket.create_server(("127.0.0.1", 0)) as listening:

        def close_all() -> None:
            with contextlib.suppress(OSError):  # The test is over.
                while True:
                    connection, _ = listening.accept()
                    connection.recv(65536)  # What is unread would reset the connection.
                    connection.close()

        thread = threading.Thread(target=close_all, daemon=True)
        thread.start()
        yield listening.getsockname()[1]
        listening.shutdown(socket.SHUT_RDWR)
        thread.join()


@pytest.mark.parametrize("scheme", ["http", "https"])
def test_a_balancer_without_a_server(closing: int, scheme: str) -> None:
    """A load balancer that closes each connection has no server now, and may have one later."""
    url = f"{scheme}://127.0.0.1:{closing}/execution/"
    check(url, "closed the connection without an answer", passes=True)


def test_an_untrusted_certificate(server: Any) -> None:
    """A certificate of an unknown authority needs that authority in the image."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    trustme.CA().issue_cert("127.0.0.1").configure_cert(context)
    server.socket = context.wrap_socket(server.socket, server_side=True)
    check(url_of(server, "https"), "AIRFLOW__API__SSL_CERT", passes=False)


def test_no_tls_at_all(server: Any) -> None:
    """A server of plain HTTP needs another URL."""
    check(url_of(server, "https"), "does not speak TLS", passes=False)


@pytest.mark.parametrize("before", ["http://", "http://user:secret@", "", "user:secret@"])
def test_a_proxy_that_refuses(server: Any, monkeypatch: pytest.MonkeyPatch, before: str) -> None:
    """A proxy of the function's environment is named as the cause, without its credentials."""
    server.answer = (403, {}, b"")
    monkeypatch.setenv("HTTPS_PROXY", f"{before}127.0.0.1:{server.server_port}")
    url = "https://api.airflow.invalid/execution/"
    check(url, f"through the proxy 127.0.0.1:{server.server_port}", passes=True)
    assert "secret" not in errors.reason(error_of(url), url)


@pytest.mark.parametrize(
    ("status", "says", "passes"),
    [
        (500, "its own log has the cause", True),
        (503, "has no API server that answers", True),
        (429, "limits the calls", True),
        (404, "no Execution API is there", False),
        (401, "refused the workload's token", False),
        (403, "[scheduler] task_queued_timeout", False),
        (422, "HTTP 422", False),
    ],
)
def test_an_answer(server: Any, status: int, says: str, *, passes: bool) -> None:
    """Each status has its own words; a fault of the server passes, a refusal does not."""
    server.answer = (status, {"Content-Type": "text/plain"}, b"no")
    check(url_of(server), says, passes=passes)


def test_a_redirect(server: Any) -> None:
    """A redirect, usually to https, is no answer: the URL must be the last one."""
    server.answer = (301, {"Location": "https://elsewhere/execution/"}, b"")
    check(url_of(server), "set AIRFLOW__CORE__EXECUTION_API_SERVER_URL to where", passes=False)


def test_a_task_that_is_gone(server: Any) -> None:
    """An answer of Airflow's own says that it does not know the try."""
    body = b'{"detail": {"reason": "not_found", "message": "Task Instance not found"}}'
    server.answer = (404, {"Content-Type": "application/json"}, body)
    error = error_of(url_of(server))
    assert "it was cleared or deleted" in errors.reason(error, url_of(server))
