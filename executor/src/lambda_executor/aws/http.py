"""HTTP/1.1 by AWS's own native client, awscrt: its sockets and TLS need no interpreter lock.

One native thread serves all connections. It calls back when an answer is complete, so no thread of
ours waits while a request is under way. awscrt is optional: without it boto3 makes every call.

A connection is made, and its TLS too, before the body of a request is read (`call.py`).
https://awslabs.github.io/aws-crt-python/api/http.html
"""

from __future__ import annotations

import functools
import threading
import time
from collections import deque
from concurrent.futures import Future
from dataclasses import dataclass
from typing import Any
from urllib.parse import unquote, urlsplit

from lambda_executor.aws.call import Answer, Body, Call, Done, Outcome
from lambda_executor.aws.overdue import Overdue

try:
    from awscrt import http as crt_http
    from awscrt import io as crt_io
except ImportError as error:  # Not installed, or not for this machine.
    WHY_MISSING: str | None = str(error)
else:
    WHY_MISSING = None

#: Seconds for which an unused connection is kept; one that the server has closed is replaced.
IDLE_S = 50.0


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
        call = Call(
            url=self._route.endpoint_url,
            method=method,
            path=path,
            headers=headers,
            body=Body(body),
            read_s=self._route.read_s if read_s is None else read_s,
            done=done,
            ends_s=time.monotonic() + self._route.connect_s,
        )
        try:
            _OVERDUE.watch(call)
        except RuntimeError as error:
            call.fail(f"{self._route.endpoint_url}: nothing was sent without a time-out: {error}")
            return
        connection = self._take()
        if connection is None:
            self._connect(call)
        else:
            self._send(call, connection, is_kept=True)

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
        outcomes: deque[Outcome] = deque()
        answered = threading.Lock()
        answered.acquire()

        def done(outcome: Outcome) -> None:
            outcomes.append(outcome)
            answered.release()

        self.begin(method, path, headers, body, done, read_s)
        answered.acquire()
        outcome = outcomes[0]
        if isinstance(outcome, Exception):
            raise outcome
        return outcome

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

    def _connect(self, call: Call) -> None:
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
            call.fail(self._about(error))
            return
        connecting.add_done_callback(functools.partial(self._connected, call))

    def _connected(self, call: Call, connecting: Future[Any]) -> None:
        if error := connecting.exception():
            call.fail(self._about(error))
        else:
            self._send(call, connecting.result())

    def _send(self, call: Call, connection: Any, *, is_kept: bool = False) -> None:  # noqa: ANN401 - awscrt has no types
        if not call.claim(connection, is_kept=is_kept):
            self._give_back(connection)
            return
        answered: list[tuple[str, str]] = []
        chunks: list[bytes] = []

        def ended(completion: Future[int]) -> None:
            if error := completion.exception():
                self._failed(call, connection, error)
                return
            self._give_back(connection)
            call.answer(Answer(completion.result(), answered, b"".join(chunks)))

        try:
            stream = connection.request(
                crt_http.HttpRequest(
                    call.method, call.path, crt_http.HttpHeaders(call.headers), call.body
                ),
                lambda headers, **_: answered.extend(headers),
                lambda chunk, **_: chunks.append(bytes(chunk)),
            )
            stream.completion_future.add_done_callback(ended)
            stream.activate()
        except Exception as error:  # noqa: BLE001 - awscrt raises many
            self._failed(call, connection, error)

    def _failed(self, call: Call, connection: Any, error: BaseException) -> None:  # noqa: ANN401 - awscrt has no types
        """End a call, or send it on a new connection if the server had closed the one it had."""
        connection.close()
        if call.connection is not connection:
            return  # It is being sent again.
        if call.claim_another(self._route.connect_s):
            self._connect(call)
        else:
            call.fail(self._about(error))

    def _give_back(self, connection: Any) -> None:  # noqa: ANN401 - awscrt has no types
        if connection.is_open():
            self._idle.append((time.monotonic(), connection))

    def _about(self, error: BaseException) -> str:
        by = f" by the proxy {_masked(self._route.proxy_url)}" if self._route.proxy_url else ""
        return f"{self._route.endpoint_url}{by}: {error}"


_OVERDUE = Overdue()


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
