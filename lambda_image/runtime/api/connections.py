"""The connections to the Execution API, kept from one workload to the next.

Airflow's supervisor makes a client for every workload, and with it a TCP connection and a TLS
handshake. `install` lets it make a client as before, with the token and the cookies of this
workload alone. Only the connections below it are kept.

`docs/decisions/0053-kept-connections.md` has the reasons.
"""

from __future__ import annotations

import os
import urllib.request
from collections.abc import Callable
from typing import Any

import structlog
from airflow.sdk.api import client as api_client
from airflow.sdk.execution_time import supervisor

from lambda_image.aws_calls import Idleness
from lambda_image.runtime.compat import http

log = structlog.get_logger(__name__)

#: The errors of a connection that the server has closed, or that a frozen environment has lost.
_LOST = (http.ReadError, http.WriteError, http.RemoteProtocolError)

#: How httpx finds the connections for a URL, those of a proxy included. It is private.
_FINDER = "_transport_for_url"


class KeptConnections(http.BaseTransport):  # type: ignore[misc] # httpx's or httpx2's
    """The connections to one server, for one client of Airflow's after the other.

    They belong to a client without a token, their owner, so that certificates, client certificates
    and proxies are those of Airflow's own client. It is made with the first request: before that
    nothing is connected. A request that fails in any way drops every connection.

    Attributes:
        made_by: The id of the process whose connections these are.
    """

    def __init__(self, make_owner: Callable[[], Any], idleness: Idleness | None = None) -> None:
        self._make_owner = make_owner
        self._owner: Any = None
        self._idleness = idleness or Idleness()
        self.made_by = os.getpid()

    def handle_request(self, request: Any) -> Any:  # noqa: ANN401 - httpx's or httpx2's
        """Send a request, and read its whole answer.

        A GET changes nothing, so it is sent again at once if a kept connection was dead. Airflow
        may have acted on any other request: `api.calls` knows which of them may be repeated.
        """
        if self._idleness.is_too_long():
            self.drop()
        is_kept = self._owner is not None
        try:
            return self._send(request)
        except _LOST:
            if not is_kept or request.method != "GET":
                raise
            return self._send(request)

    def close(self) -> None:
        """Do nothing: a client that is closed leaves the connections to the next one."""

    def drop(self) -> None:
        """Close every connection; the next request makes a new one."""
        if self._owner is not None:
            self._owner.close()
            self._owner = None

    def _send(self, request: Any) -> Any:  # noqa: ANN401 - httpx's or httpx2's
        if self._owner is None:
            self._owner = self._make_owner()
        try:
            answer = getattr(self._owner, _FINDER)(request.url).handle_request(request)
            body = b"".join(answer.iter_raw())
        except BaseException:  # Also when the time is over: half an answer may be left to read.
            self.drop()
            raise
        self._idleness.begin()
        return http.Response(
            answer.status_code,
            headers=answer.headers,
            stream=http.ByteStream(body),
            extensions=answer.extensions,
        )


class Clients:
    """Makes Airflow's clients, of which those of one server share its connections."""

    def __init__(self, stock: Callable[..., Any]) -> None:
        self._stock = stock
        self._kept: KeptConnections | None = None
        self._route: object = None

    def make(self, *, base_url: str, token: str, **options: Any) -> Any:  # noqa: ANN401
        """A new client of Airflow's with this token, as the supervisor asks for it."""
        if options.get("dry_run"):
            return self._stock(base_url=base_url, token=token, **options)
        kept = self._connections_to(base_url)
        return self._stock(base_url=base_url, token=token, transport=kept, **options)

    def _connections_to(self, server: str) -> KeptConnections:
        """The connections that lead to a server by the proxies of today, from this process."""
        route = (server, urllib.request.getproxies())
        if self._kept is None or self._kept.made_by != os.getpid() or self._route != route:
            if self._kept is not None:
                self._kept.drop()
            self._kept = KeptConnections(lambda: self._make_owner(server))
            self._route = route
        return self._kept

    def _make_owner(self, server: str) -> Any:  # noqa: ANN401 - Airflow's type
        limits = http.Limits(
            max_keepalive_connections=1, max_connections=10, keepalive_expiry=Idleness.LIMIT_S
        )
        return self._stock(base_url=server, token="", limits=limits)


def install() -> None:
    """Have Airflow's supervisor make its clients on kept connections, for good."""
    if not hasattr(http.Client, _FINDER):
        log.warning(
            "every workload makes a connection of its own to the Execution API: the HTTP client is "
            "not one that the image knows. Build the image with Airflow 3.0 to 3.4",
            library=http.__name__,
            version=http.__version__,
        )
        return
    users: Any = supervisor
    users.Client = Clients(api_client.Client).make
