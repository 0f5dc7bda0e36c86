"""HTTP/1.1 by AWS's own native client, awscrt: its sockets and TLS need no interpreter lock.

One native thread serves all connections. It calls back when an answer is complete, so no thread of
ours waits while a request is under way. awscrt is optional: without it boto3 makes every call.

A request that fails before its body was read to the end cannot have reached AWS as a whole; a
connection is made, and its TLS too, before the body is read.
https://awslabs.github.io/aws-crt-python/api/http.html
"""

from __future__ import annotations

import functools
import logging
import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from dataclasses import dataclass, field
from io import BytesIO
from typing import Any, NamedTuple
from urllib.parse import unquote, urlsplit

log = logging.getLogger(__name__)

try:
    from awscrt import http as crt_http
    from awscrt import io as crt_io
except ImportError as error:  # Not installed, or not for this machine.
    WHY_MISSING: str | None = str(error)
else:
    WHY_MISSING = None

#: Seconds for which an unused connection is kept; one that the server has closed is replaced.
IDLE_S = 50.0
#: Seconds between two looks for calls that take too long.
TICK_S = 0.1


class NotSentError(Exception):
    """The request did not leave as a whole."""


class NoAnswerError(Exception):
    """The request left, and no answer came."""


class Answer(NamedTuple):
    """An answer of AWS, or of a proxy before it."""

    status: int
    headers: Sequence[tuple[str, str]]
    body: bytes


#: Called once, on any thread: with the answer, or with one of the errors above.
Done = Callable[[Answer | NotSentError | NoAnswerError], None]


@dataclass(frozen=True, slots=True)
class Route:
    """How requests get to one endpoint.

    Attributes:
        endpoint_url: Its scheme, host and port.
        ca_file: A file of the certificates to trust, in PEM.
        proxy_url: The proxy on the way; its scheme is http. None: there is none.
        connect_s: Seconds to wait for a connection.
        read_s: Seconds to wait for an answer, unless the request says otherwise.
    """

    endpoint_url: str
    ca_file: str
    proxy_url: str | None
    connect_s: float
    read_s: float


@dataclass(eq=False, slots=True)
class _Call:
    """One request under way."""

    method: str
    path: str
    headers: list[tuple[str, str]]
    unsent: BytesIO
    size: int
    read_s: float
    done: Done
    ends_s: float = 0.0
    is_retry: bool = False
    connection: Any = None
    answered: list[tuple[str, str]] = field(default_factory=list)
    chunks: list[bytes] = field(default_factory=list)
    is_done: bool = False

    def finish(self, outcome: Answer | NotSentError | NoAnswerError) -> None:
        if not self.is_done:
            self.is_done = True
            self.done(outcome)


class Connections:
    """The connections to one endpoint, each for one request at a time.

    Args:
        route: Where they go.
    """

    def __init__(self, route: Route) -> None:
        self._route = route
        url = urlsplit(route.endpoint_url)
        self._host = url.hostname or ""
        self._port = url.port or (443 if url.scheme == "https" else 80)
        self._tls = _tls(route.ca_file) if url.scheme == "https" else None
        self._idle: deque[tuple[float, Any]] = deque()

    def begin(  # noqa: PLR0913, PLR0917 - the parts of a request
        self,
        method: str,
        path: str,
        headers: list[tuple[str, str]],
        body: bytes,
        done: Done,
        read_s: float | None = None,
    ) -> None:
        """Send a request, and return at once.

        Args:
            method: GET or POST.
            path: With the query.
            headers: All of them, signed.
            body: The body.
            done: Called once, mostly on the native thread: it must not wait.
            read_s: Seconds to wait for the answer; None: as the route says.
        """
        read_s = self._route.read_s if read_s is None else read_s
        call = _Call(method, path, headers, BytesIO(body), len(body), read_s, done)
        connection = self._take()
        if connection is None:
            self._connect(call)
        else:
            self._send(call, connection)

    def call(
        self,
        method: str,
        path: str,
        headers: list[tuple[str, str]],
        body: bytes,
        read_s: float | None = None,
    ) -> Answer:
        """Send a request and wait for its answer.

        Raises:
            NotSentError: The request did not leave as a whole.
            NoAnswerError: The request left, and no answer came.
        """
        outcomes: deque[Answer | NotSentError | NoAnswerError] = deque()
        answered = threading.Lock()
        answered.acquire()

        def done(outcome: Answer | NotSentError | NoAnswerError) -> None:
            outcomes.append(outcome)
            answered.release()

        self.begin(method, path, headers, body, done, read_s)
        answered.acquire()
        outcome = outcomes[0]
        if isinstance(outcome, Exception):
            raise outcome
        return outcome

    def close(self) -> None:
        """Close the connections that are not in use."""
        while self._idle:
            self._idle.popleft()[1].close()

    def _take(self) -> Any:  # noqa: ANN401 - awscrt has no types
        oldest_s = time.monotonic() - IDLE_S
        while self._idle:
            try:
                since_s, connection = self._idle.pop()
            except IndexError:  # Another thread has taken it.
                return None
            if connection.is_open() and since_s >= oldest_s:
                return connection
            connection.close()
        return None

    def _connect(self, call: _Call) -> None:
        call.ends_s = time.monotonic() + self._route.connect_s
        _OVERDUE.add(call, self._give_up)
        socket_options = crt_io.SocketOptions()
        socket_options.connect_timeout_ms = int(self._route.connect_s * 1000)
        socket_options.keep_alive = True
        tls = None
        if self._tls is not None:
            tls = self._tls.new_connection_options()
            tls.set_server_name(self._host)
        try:
            connecting: Future[Any] = crt_http.HttpClientConnection.new(
                self._host,
                self._port,
                bootstrap=_bootstrap(),
                socket_options=socket_options,
                tls_connection_options=tls,
                proxy_options=_proxy(self._route.proxy_url),
            )
        except Exception as error:  # noqa: BLE001 - awscrt raises many
            call.finish(NotSentError(self._about(error)))
            return
        connecting.add_done_callback(functools.partial(self._connected, call))

    def _connected(self, call: _Call, connecting: Future[Any]) -> None:
        if error := connecting.exception():
            call.finish(NotSentError(self._about(error)))
        elif call.is_done:
            self._give_back(connecting.result())
        else:
            self._send(call, connecting.result())

    def _send(self, call: _Call, connection: Any) -> None:  # noqa: ANN401 - awscrt has no types
        call.connection = connection
        call.ends_s = time.monotonic() + call.read_s
        _OVERDUE.add(call, self._give_up)
        try:
            stream = connection.request(
                crt_http.HttpRequest(
                    call.method, call.path, crt_http.HttpHeaders(call.headers), call.unsent
                ),
                lambda headers, **_: call.answered.extend(headers),
                lambda chunk, **_: call.chunks.append(bytes(chunk)),
            )
            stream.completion_future.add_done_callback(functools.partial(self._ended, call))
            stream.activate()
        except Exception as error:  # noqa: BLE001 - awscrt raises many
            self._failed(call, error)

    def _ended(self, call: _Call, completion: Future[int]) -> None:
        connection = call.connection
        if error := completion.exception():
            self._failed(call, error)
            return
        self._give_back(connection)
        call.finish(Answer(completion.result(), call.answered, b"".join(call.chunks)))

    def _failed(self, call: _Call, error: BaseException) -> None:
        """End a call, or send it on a new connection if the server had closed the one it had."""
        if call.is_done:
            return
        call.connection.close()
        read = call.unsent.tell()
        if read == call.size:
            call.finish(NoAnswerError(self._about(error)))
        elif read or call.is_retry:
            call.finish(NotSentError(self._about(error)))
        else:
            call.is_retry = True
            self._connect(call)

    def _give_up(self, call: _Call) -> None:
        """End a call that takes too long."""
        if call.connection is None:
            call.finish(
                NotSentError(f"no connection to {self._route.endpoint_url} within the time-out")
            )
            return
        whole = call.unsent.tell() == call.size
        kind = NoAnswerError if whole else NotSentError
        call.finish(kind(f"{self._route.endpoint_url} gave no answer within {call.read_s:g} s"))
        call.connection.close()

    def _give_back(self, connection: Any) -> None:  # noqa: ANN401 - awscrt has no types
        if connection.is_open():
            self._idle.append((time.monotonic(), connection))

    def _about(self, error: BaseException) -> str:
        by = f" by the proxy {_masked(self._route.proxy_url)}" if self._route.proxy_url else ""
        return f"{self._route.endpoint_url}{by}: {error}"


class _Overdue:
    """Ends calls that take too long, on a thread of its own. One serves the whole process."""

    def __init__(self) -> None:
        self._calls: dict[int, tuple[_Call, Callable[[_Call], None]]] = {}
        self._lock = threading.Lock()
        self._is_needed = threading.Event()
        self._thread: threading.Thread | None = None

    def add(self, call: _Call, give_up: Callable[[_Call], None]) -> None:
        """Watch a call from now on until it is done; `give_up` ends it."""
        self._calls[id(call)] = call, give_up
        if not self._is_needed.is_set():
            with self._lock:
                if self._thread is None:
                    name = "lambda-time-outs"
                    self._thread = threading.Thread(target=self._run, name=name, daemon=True)
                    self._thread.start()
            self._is_needed.set()

    def _run(self) -> None:
        while True:
            self._is_needed.clear()
            if not self._calls:
                self._is_needed.wait()
            time.sleep(TICK_S)
            now_s = time.monotonic()
            # list() of a dictionary's items is atomic under the GIL.
            for key, (call, give_up) in list(self._calls.items()):
                if not call.is_done and now_s >= call.ends_s:
                    give_up(call)
                if call.is_done:
                    del self._calls[key]


_OVERDUE = _Overdue()


@functools.cache
def _bootstrap() -> Any:  # noqa: ANN401 - awscrt has no types
    """Return what all connections of this process share: one native thread, one resolver."""
    group = crt_io.EventLoopGroup(1)
    return crt_io.ClientBootstrap(group, crt_io.DefaultHostResolver(group))


@functools.cache
def _tls(ca_file: str) -> Any:  # noqa: ANN401 - awscrt has no types
    options = crt_io.TlsContextOptions()
    options.override_default_trust_store_from_path(ca_filepath=ca_file)
    return crt_io.ClientTlsContext(options)


def _proxy(url: str | None) -> Any:  # noqa: ANN401 - awscrt has no types
    if url is None:
        return None
    parts = urlsplit(url)
    options = crt_http.HttpProxyOptions(parts.hostname, parts.port or 80)
    if parts.username is not None:
        options.auth_type = crt_http.HttpProxyAuthenticationType.Basic
        options.auth_username = unquote(parts.username)
        options.auth_password = unquote(parts.password or "")
    return options


def _masked(url: str | None) -> str:
    parts = urlsplit(url or "")
    return f"{parts.hostname}:{parts.port or 80}"
