"""What happens to a native call while something else happens at the same time.

Each test makes the second thing happen within the first, at the worst moment.
"""

from __future__ import annotations

import io
import queue
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from typing import Any, Literal

import boto3
import pytest
from awscrt.http import HttpClientConnection
from botocore.awsrequest import AWSResponse
from botocore.exceptions import ClientError

from lambda_executor.aws import Clients, LambdaFunctions, SqsQueue, http
from lambda_executor.aws.call import Answer, NoAnswerError, NotSentError, Outcome
from lambda_executor.aws.http import Connections, Route
from lambda_executor.aws.overdue import Overdue
from lambda_executor.contract.errors import AwsError, CredentialsError, UnreachableError
from tests.support.aws_server import PAYLOAD, TARGET, Server, clients, send, serving

#: More than the buffers between client and server hold.
LARGE = bytes(20_000_000)
HEADERS = [("host", "test")]


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[Server]:
    """A server that answers every request."""
    with serving(200, b"{}") as running:
        monkeypatch.setenv("AWS_ENDPOINT_URL_LAMBDA", running.url)
        monkeypatch.setenv("AWS_ENDPOINT_URL_SQS", running.url)
        yield running


def route(url: str, *, connect_s: float = 5, read_s: float = 5) -> Route:
    """The way to a server."""
    return Route(url, "", None, connect_s=connect_s, read_s=read_s)


def begun(connections: Connections, body: bytes = b"x") -> queue.Queue[Outcome]:
    """The outcomes of a request."""
    outcomes: queue.Queue[Outcome] = queue.Queue()
    headers = [*HEADERS, ("content-length", str(len(body)))]
    connections.begin("POST", "/", headers, body, outcomes.put)
    return outcomes


# ---- the request that boto3 makes ----


def forgetful() -> Clients:
    """Clients whose credentials another thread finds failed, at the worst time."""

    class Session(boto3.Session):
        def get_credentials(self) -> Any:
            expired = ClientError({"Error": {"Code": "ExpiredTokenException"}}, "Invoke")
            assert isinstance(shared.translated(expired), CredentialsError)
            return super().get_credentials()

    shared = clients(Session)
    return shared


def test_clients_that_are_forgotten_meanwhile_invoke_once(server: Server) -> None:
    """The request is caught although new clients are made: `begin` sends it, and boto3 does not."""
    functions = LambdaFunctions(forgetful())
    ended: queue.Queue[AwsError | None] = queue.Queue()
    if not functions.begin(TARGET, PAYLOAD, ended.put):
        functions.invoke(TARGET, PAYLOAD)
    else:
        assert ended.get(timeout=10) is None
    assert [seen[3] for seen in server.seen] == [PAYLOAD]


def test_clients_that_are_forgotten_meanwhile_receive_once(
    monkeypatch: pytest.MonkeyPatch, server: Server
) -> None:
    """No received message is thrown away."""
    server.body = b'{"Messages": [{"Body": "b", "ReceiptHandle": "r"}]}'
    shared = clients()
    real = shared.native

    def native(service: Literal["lambda", "sqs"]) -> Any:
        found = real(service)
        expired = ClientError({"Error": {"Code": "ExpiredTokenException"}}, "ReceiveMessage")
        assert isinstance(shared.translated(expired), CredentialsError)
        return found

    monkeypatch.setattr(shared, "native", native)
    sqs_queue = SqsQueue(shared, f"{server.url}/123456789012/results")
    assert [message.body for message in sqs_queue.receive(0)] == ["b"]
    assert len(server.seen) == 1


def test_a_call_that_cannot_be_caught_was_made(
    server: Server, caplog: pytest.LogCaptureFixture
) -> None:
    """What answers before the request is sent has made the call: it is not made again."""
    shared = clients()
    calls = []
    headers: Any = {}

    def answer(**_: Any) -> Any:
        calls.append(1)
        raw: Any = io.BytesIO()
        return AWSResponse(server.url, 202, headers, raw), {"Payload": io.BytesIO()}

    shared.function.meta.events.register("before-call.lambda.Invoke", answer)
    functions = LambdaFunctions(shared)
    send(functions)
    assert len(calls) == 1
    assert not functions.begin(TARGET, PAYLOAD, print)
    assert f"boto3 makes the calls to {server.url}: something else answers" in caplog.text
    assert server.seen == []


def test_a_catcher_that_botocore_kept_catches_nothing(
    monkeypatch: pytest.MonkeyPatch, server: Server
) -> None:
    """Another thread looked the listeners up before it was removed, and stores them after."""
    shared = clients()
    functions = LambdaFunctions(shared)
    events: Any = shared.function.meta.events
    real, emitter = events.unregister, events._emitter

    def unregister(event: str, listener: Any) -> None:
        stale = emitter._handlers.prefix_search(event)
        real(event, listener)
        emitter._lookup_cache[event] = stale

    monkeypatch.setattr(events, "unregister", unregister)
    send(functions)
    send(functions)
    functions.invoke(TARGET, PAYLOAD)
    assert len(server.seen) == 3


def test_two_threads_make_one_template(monkeypatch: pytest.MonkeyPatch, server: Server) -> None:
    """The second waits for the first, and uses what it made."""
    shared = clients()
    functions = LambdaFunctions(shared)
    made: list[int] = []
    both = threading.Barrier(2)
    client = shared.function
    real = client.invoke

    def invoke(**call: Any) -> Any:
        made.append(1)
        time.sleep(0.2)
        return real(**call)

    monkeypatch.setattr(client, "invoke", invoke)

    def sends() -> None:
        both.wait()
        send(functions)

    threads = [threading.Thread(target=sends) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(20)
    assert (len(made), len(server.seen)) == (1, 2)


# ---- time-outs ----


def test_a_connection_that_comes_too_late_sends_nothing(
    monkeypatch: pytest.MonkeyPatch, server: Server
) -> None:
    """The time-out strikes after the connection was made, and before the request is sent on it."""
    real = Connections._send

    def too_late(self: Connections, call: Any, connection: Any, **more: Any) -> None:
        call.ends_s = 0.0
        getattr(call, "give_up", lambda: self._give_up(call))()  # type: ignore[attr-defined]
        real(self, call, connection, **more)

    monkeypatch.setattr(Connections, "_send", too_late)
    outcomes = begun(Connections(route(server.url)))
    assert isinstance(outcomes.get(timeout=10), NotSentError)
    time.sleep(0.3)  # It would be sent by now.
    assert server.seen == []
    assert outcomes.empty()


def test_what_was_not_sent_at_the_time_out_is_never_sent() -> None:
    """The server reads on when the time-out is reported; the rest does not come."""
    goes_on, is_told, is_over = threading.Event(), threading.Event(), threading.Event()
    received: list[int] = []
    outcomes: list[Outcome] = []

    def serve() -> None:
        connection, _ = listener.accept()
        with connection, suppress(OSError):
            goes_on.wait(20)
            while part := connection.recv(1_000_000):
                received.append(len(part))
            is_told.set()

    def done(outcome: Outcome) -> None:
        goes_on.set()
        is_told.wait(3)
        outcomes.append(outcome)
        is_over.set()

    with socket.create_server(("127.0.0.1", 0)) as listener:
        thread = threading.Thread(target=serve)
        thread.start()
        connections = Connections(
            route(f"http://127.0.0.1:{listener.getsockname()[1]}", read_s=0.5)
        )
        headers = [*HEADERS, ("content-length", str(len(LARGE)))]
        connections.begin("POST", "/", headers, LARGE, done)
        thread.join(20)
        assert is_over.wait(20)
    assert sum(received) < len(LARGE)
    assert [type(one) for one in outcomes] == [NotSentError]


def test_a_server_that_cannot_be_connected_to() -> None:
    """Its backlog is full, so that no connection is made in time: nothing was sent, and we know."""
    with socket.socket() as listener, socket.socket() as one, socket.socket() as two:
        listener.bind(("127.0.0.1", 0))
        listener.listen(0)
        for filler in (one, two):
            filler.setblocking(False)
            filler.connect_ex(listener.getsockname())
        url = f"http://127.0.0.1:{listener.getsockname()[1]}"
        outcome = begun(Connections(route(url, connect_s=0.5))).get(timeout=5)
    assert isinstance(outcome, NotSentError)
    assert url in str(outcome)


def test_a_machine_without_another_thread(monkeypatch: pytest.MonkeyPatch, server: Server) -> None:
    """Without time-outs nothing is sent, and the next call tries again."""
    monkeypatch.setattr(http, "_OVERDUE", Overdue())
    connections = Connections(route(server.url, read_s=0.3))

    def refuse(_: object) -> None:
        message = "can't start new thread"
        raise RuntimeError(message)

    with monkeypatch.context() as patch:
        patch.setattr(threading.Thread, "start", refuse)
        outcome = begun(connections).get(timeout=5)
    assert isinstance(outcome, NotSentError)
    assert "can't start new thread" in str(outcome)
    assert server.seen == []
    with socket.create_server(("127.0.0.1", 0)) as silent:
        url = f"http://127.0.0.1:{silent.getsockname()[1]}"
        late = begun(Connections(route(url, read_s=0.3))).get(timeout=5)
    assert isinstance(late, NoAnswerError)


def test_an_error_of_one_call_does_not_end_the_time_outs(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """The call after it is ended in time."""
    monkeypatch.setattr(http, "_OVERDUE", Overdue())

    def fail(_: Outcome) -> None:
        message = "cannot be recorded"
        raise RuntimeError(message)

    with socket.create_server(("127.0.0.1", 0)) as silent:
        url = f"http://127.0.0.1:{silent.getsockname()[1]}"
        connections = Connections(route(url, read_s=0.3))
        connections.begin("POST", "/", [*HEADERS, ("content-length", "1")], b"x", fail)
        time.sleep(0.6)
        assert isinstance(begun(connections).get(timeout=5), NoAnswerError)
    assert "cannot be recorded" in caplog.text


# ---- kept connections ----


def test_a_kept_connection_that_the_server_closes_is_replaced(
    monkeypatch: pytest.MonkeyPatch, server: Server
) -> None:
    """It is closed after the look whether it is open; the request goes by a new one, once."""
    server.closes_after_each = True
    monkeypatch.setattr(HttpClientConnection, "is_open", lambda _: True)
    connections = Connections(route(server.url))
    assert isinstance(begun(connections).get(timeout=5), Answer)
    assert server.ended.wait(5)
    time.sleep(0.2)  # Until awscrt has noticed it.
    outcome = begun(connections).get(timeout=5)
    assert isinstance(outcome, Answer)
    assert (outcome.status, outcome.body) == (200, b"{}")
    assert (len(server.seen), server.connections) == (2, 2)


def test_a_connection_that_was_idle_for_too_long_is_replaced(
    monkeypatch: pytest.MonkeyPatch, server: Server
) -> None:
    """A load balancer may have forgotten it."""
    monkeypatch.setattr(http, "IDLE_S", 0.0)
    connections = Connections(route(server.url))
    for _ in range(2):
        assert isinstance(begun(connections).get(timeout=5), Answer)
        time.sleep(0.05)
    assert server.connections == 2


def test_a_call_that_ended_late_does_not_cut_off(server: Server) -> None:
    """Of one outage, several sends fail one after the other; boto3 gets through in between."""
    shared = clients()
    functions = LambdaFunctions(shared)
    native = shared.native("lambda")
    listener = socket.create_server(("127.0.0.1", 0))
    away = f"http://127.0.0.1:{listener.getsockname()[1]}"
    listener.close()
    send(functions)
    kept = native._ways._connections[server.url]
    held: list[Callable[[], None]] = []

    class Staggered(Connections):
        def begin(self, *request: Any, **more: Any) -> None:
            held.append(lambda: super(Staggered, self).begin(*request, **more))

    native._ways._connections[server.url] = Staggered(route(away))
    ended: queue.Queue[AwsError | None] = queue.Queue()
    for _ in range(5):
        assert functions.begin(TARGET, PAYLOAD, ended.put)
    native._ways._connections[server.url] = kept
    for fail in held:
        fail()
        assert isinstance(ended.get(timeout=10), UnreachableError)
        functions.invoke(TARGET, PAYLOAD)
    assert functions.begin(TARGET, PAYLOAD, ended.put)
    assert ended.get(timeout=10) is None
