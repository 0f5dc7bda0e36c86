"""What an error says about an invoke, with real connections that break everywhere.

awscrt sends, and boto3 sends what awscrt cannot: both must say the same.

Each server below breaks the connection at one point. The executor must know whether Lambda can have
taken the event, because a task whose event was taken must not fail.
"""

from __future__ import annotations

import contextlib
import gc
import queue
import socket
import struct
import threading
import warnings
from collections.abc import Callable, Iterator
from typing import Union

import boto3
import pytest

from lambda_executor.aws import Clients, LambdaFunctions, Patience
from lambda_executor.contract.errors import AwsError, InDoubtError, UnreachableError
from lambda_executor.core.targets import FunctionTarget

PAYLOAD = b'{"task_key": "x"}'
#: The last part of a request; it is complete with it.
END = PAYLOAD[-8:]
#: More than the buffers between client and server hold.
LARGE = PAYLOAD * 1_000_000
TAKEN = b"HTTP/1.1 202 Accepted\r\nContent-Length: 0\r\n\r\n"

Serve = Callable[[socket.socket], None]
Invoker = Union[LambdaFunctions, "Natively"]


def read_request(connection: socket.socket) -> bytes:
    """Read to the end of a request, or of the connection."""
    read = b""
    while not read.endswith(END) and (part := connection.recv(65536)):
        read += part
    return read


def reset(connection: socket.socket) -> None:
    """Close with a reset instead of an end."""
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    connection.close()


def close_at_once(connection: socket.socket) -> None:
    """Take the connection, and nothing of the request."""
    reset(connection)


def close_after_the_hello(connection: socket.socket) -> None:
    """Break the TLS handshake off."""
    connection.recv(65536)


def answer_without_tls(connection: socket.socket) -> None:
    """Speak HTTP where TLS is expected."""
    connection.recv(65536)
    connection.sendall(b"HTTP/1.1 400 Bad Request\r\n\r\n")


def close_after_the_request(connection: socket.socket) -> None:
    """Take the request, and do not answer."""
    read_request(connection)


def reset_after_the_request(connection: socket.socket) -> None:
    """Take the request, and break the connection."""
    read_request(connection)
    reset(connection)


def say_nothing(connection: socket.socket) -> None:
    """Take the request, and leave the client waiting."""
    read_request(connection)
    connection.recv(1)


def break_within_the_answer(connection: socket.socket) -> None:
    """Take the request, and send a part of an answer, without its status.

    An answer that breaks after the status 202 says that the event was taken. Newer botocores accept
    it (1.43.117 does), older ones do not (1.43.106).
    """
    read_request(connection)
    connection.sendall(b"HTT")


def fail(connection: socket.socket) -> None:
    """Answer with a server error."""
    read_request(connection)
    connection.sendall(b"HTTP/1.1 500 Oh\r\nContent-Length: 2\r\n\r\n{}")


def take_one_and_reset_the_next(connection: socket.socket) -> None:
    """Answer the first request, and break the same connection at the second one."""
    read_request(connection)
    connection.sendall(TAKEN)
    read_request(connection)
    reset(connection)


def refuse_the_tunnel(connection: socket.socket) -> None:
    """Be a proxy that permits nothing."""
    connection.recv(65536)
    connection.sendall(b"HTTP/1.1 403 Forbidden\r\n\r\n")


def read_a_little(connection: socket.socket) -> None:
    """Break the connection before a large request is complete."""
    connection.recv(4096)
    reset(connection)


@contextlib.contextmanager
def serving(serve: Serve) -> Iterator[int]:
    """The port of a server that treats every connection in the same way."""
    with socket.create_server(("127.0.0.1", 0)) as server:

        def run() -> None:
            with contextlib.suppress(OSError):
                while True:
                    connection, _ = server.accept()
                    with connection, contextlib.suppress(OSError):
                        serve(connection)

        thread = threading.Thread(target=run)
        thread.start()
        yield server.getsockname()[1]
        server.shutdown(socket.SHUT_RDWR)
        thread.join(10)


class Natively:
    """Invokes by awscrt, and waits for the outcome."""

    def __init__(self, functions: LambdaFunctions) -> None:
        self._functions = functions

    def invoke(self, target: FunctionTarget, payload: bytes) -> None:
        """Send one payload."""
        ended: queue.Queue[AwsError | None] = queue.Queue()
        assert self._functions.begin(target, payload, ended.put)
        if error := ended.get(timeout=20):
            raise error


@pytest.fixture(params=["awscrt", "boto3"])
def by(request: pytest.FixtureRequest) -> str:
    """Who sends."""
    return str(request.param)


def functions(by: str, monkeypatch: pytest.MonkeyPatch, url: str) -> Invoker:
    """The functions behind an endpoint."""
    monkeypatch.setenv("AWS_ENDPOINT_URL_LAMBDA", url)
    patience = Patience(connect_s=2, read_s=0.5, attempts=1)
    clients = Clients(boto3.Session, region_name="eu-west-1", connections=1, patience=patience)
    lambda_functions = LambdaFunctions(clients)
    return Natively(lambda_functions) if by == "awscrt" else lambda_functions


def error_of(lambda_functions: Invoker, payload: bytes = PAYLOAD) -> AwsError:
    """The error of an invoke."""
    with pytest.raises(AwsError) as raised:
        lambda_functions.invoke(FunctionTarget("fn"), payload)
    return raised.value


@pytest.fixture(autouse=True)
def unclosed_sockets() -> Iterator[None]:
    """Collect the sockets that `ssl` leaves open after a failed handshake."""
    yield
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ResourceWarning)
        gc.collect()


@pytest.mark.parametrize(
    ("scheme", "serve", "kind"),
    [
        ("https", close_at_once, UnreachableError),
        ("https", close_after_the_hello, UnreachableError),
        ("https", answer_without_tls, UnreachableError),
        ("http", close_after_the_request, InDoubtError),
        ("http", reset_after_the_request, InDoubtError),
        ("http", say_nothing, InDoubtError),
        ("http", break_within_the_answer, InDoubtError),
        ("http", fail, InDoubtError),
    ],
)
def test_a_connection_that_breaks(
    by: str, monkeypatch: pytest.MonkeyPatch, scheme: str, serve: Serve, kind: type[AwsError]
) -> None:
    """An invoke is in doubt exactly if the whole request may have left."""
    with serving(serve) as port:
        error = error_of(functions(by, monkeypatch, f"{scheme}://127.0.0.1:{port}"))
    assert type(error) is kind
    assert str(port) in str(error) or error.code


def test_a_request_of_which_a_part_stayed_here_was_not_taken(
    by: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Lambda takes only a whole event."""
    with serving(read_a_little) as port:
        error = error_of(functions(by, monkeypatch, f"http://127.0.0.1:{port}"), LARGE)
    assert type(error) is UnreachableError


@pytest.mark.parametrize("host", ["127.0.0.1", "lambda.invalid"])
def test_a_server_that_is_not_there(by: str, monkeypatch: pytest.MonkeyPatch, host: str) -> None:
    """A refused connection, or a name without an address: nothing was taken."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
    error = error_of(functions(by, monkeypatch, f"http://{host}:{port}"))
    assert type(error) is UnreachableError
    assert host in str(error)


def test_a_connection_that_is_used_again(by: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its second request may have been taken, although no connection was made for it."""
    with serving(take_one_and_reset_the_next) as port:
        lambda_functions = functions(by, monkeypatch, f"http://127.0.0.1:{port}")
        lambda_functions.invoke(FunctionTarget("fn"), PAYLOAD)
        assert type(error_of(lambda_functions)) is InDoubtError


def test_a_proxy_that_lets_nothing_through(by: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """A proxy that is away, or refuses: nothing was taken."""
    with serving(refuse_the_tunnel) as port:
        monkeypatch.setenv("HTTPS_PROXY", f"http://127.0.0.1:{port}")
        assert (
            type(error_of(functions(by, monkeypatch, "https://lambda.invalid"))) is UnreachableError
        )
    assert type(error_of(functions(by, monkeypatch, "https://lambda.invalid"))) is UnreachableError
