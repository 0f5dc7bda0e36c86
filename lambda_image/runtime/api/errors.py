"""What a failed call to the Execution API means: whether to repeat it, and its reason for a person.

httpx keeps the operating system's error as the cause of its own:
https://www.python-httpx.org/exceptions/
"""

from __future__ import annotations

import socket
import ssl
import urllib.request
from http import HTTPStatus
from typing import Any
from urllib.parse import urlsplit

from airflow.configuration import conf
from airflow.sdk.api.client import ServerResponseError

from lambda_image import host
from lambda_image.causes import causes
from lambda_image.machine.limits import exhaustion_behind
from lambda_image.runtime.compat import TOKEN_LIFETIME_OPTION, http

_URL_VARIABLE = "AIRFLOW__CORE__EXECUTION_API_SERVER_URL"
_TIMEOUT_VARIABLE = "AIRFLOW__WORKERS__EXECUTION_API_TIMEOUT"

#: The API server does not hold the task as running under this process.
_LOST_CODES = (HTTPStatus.NOT_FOUND, HTTPStatus.CONFLICT, HTTPStatus.GONE)

#: The other side closed the connection before TLS was agreed on, or without TLS's own goodbye.
_CLOSED_DURING_TLS = (ssl.SSLEOFError, ssl.SSLZeroReturnError)


def is_passing(error: Exception) -> bool:
    """Whether the same call may succeed later: Airflow was away, slow, or had a fault."""
    if isinstance(error, http.HTTPStatusError):
        code = error.response.status_code
        return bool(
            code >= HTTPStatus.INTERNAL_SERVER_ERROR or code == HTTPStatus.TOO_MANY_REQUESTS
        )
    if _is_of_tls(error) or exhaustion_behind(error):
        return False
    return isinstance(error, http.TransportError) and not isinstance(
        error, http.UnsupportedProtocol
    )


def may_have_arrived(error: Exception) -> bool:
    """Whether Airflow may have acted on the call although its answer was lost."""
    never_sent = (http.ConnectError, http.ConnectTimeout, http.PoolTimeout, http.ProxyError)
    return not isinstance(error, never_sent)


def is_not_ours(error: Exception) -> bool:
    """Whether Airflow answered that this process does not run the task, or not any more."""
    return isinstance(error, ServerResponseError) and error.response.status_code in _LOST_CODES


def detail(error: Exception) -> dict[str, Any]:
    """What the API server added to its refusal; empty if nothing.

    Before Airflow 3.2 the client keeps the whole body of the answer, with the detail in it.
    """
    found = getattr(error, "detail", None)
    if isinstance(found, dict):
        found = found.get("detail", found)
    return found if isinstance(found, dict) else {}


def state_in_airflow(error: Exception) -> str | None:
    """The state because of which the API server refused a call; None if it does not say."""
    given = detail(error)
    state = given.get("previous_state", given.get("current_state"))
    return state if isinstance(state, str) else None


def reason(error: Exception, server: str) -> str:
    """Why a call failed, in one sentence, and what to do about it."""
    if isinstance(error, http.HTTPStatusError):
        code, path = error.response.status_code, error.request.url.path
        answered = f"the Execution API at {server} answered HTTP {code} to {path}"
        return (
            _refusal_reason(error, code, path)
            or _wrong_server_reason(error, answered)
            or _fault_reason(code, answered, error)
        )
    why = (
        _tls_reason(error)
        or _connection_reason(error, server)
        or _answer_reason(error)
        or f"cannot be reached from the {host.name()}{_via_proxy(server)}: check {_URL_VARIABLE} "
        f"and the way from the {host.name()}'s network to it"
    )
    text = f"{type(error).__name__}: {error}".removesuffix(": ")
    return f"the Execution API at {server} {why} ({text})"


def _tls_reason(error: Exception) -> str:
    if _is_caused_by(error, ssl.SSLCertVerificationError):
        return (
            f"has a certificate that the {host.name()} does not trust: add the authority's "
            "certificate to the image and name its file in AIRFLOW__API__SSL_CERT, or give the "
            "server a certificate of a public authority for this name"
        )
    if _is_of_tls(error):
        return (
            f"does not speak TLS as the {host.name()} does: if it serves plain HTTP, begin "
            f"{_URL_VARIABLE} with http://"
        )
    return ""


def _connection_reason(error: Exception, server: str) -> str:
    address, via = urlsplit(server).hostname or server, _via_proxy(server)
    if isinstance(error, http.ProxyError):
        return (
            f"cannot be reached{via}: check HTTPS_PROXY and HTTP_PROXY in the {host.name()}'s "
            f"environment, or add {address} to NO_PROXY"
        )
    if _is_caused_by(error, socket.gaierror):
        return (
            f"has a name that the {host.name()} cannot resolve, {address}: check {_URL_VARIABLE}, "
            f"and that the {host.name()}'s VPC resolves the name (DNS support, private hosted zone)"
        )
    if _is_caused_by(error, ConnectionRefusedError):
        return (
            f"refused the connection{via}: nothing listens there. Start the API server, or correct "
            f"host and port in {_URL_VARIABLE}"
        )
    if isinstance(error, http.ConnectTimeout):
        return (
            f"did not answer to the {host.name()}'s connection{via}: check that security groups, "
            f"network ACLs and routes lead from the {host.name()}'s subnets to it, and "
            f"{_URL_VARIABLE}"
        )
    return ""


def _answer_reason(error: Exception) -> str:
    if isinstance(error, http.TimeoutException):
        limit_s = conf.getfloat("workers", "execution_api_timeout", fallback=5.0)
        return (
            f"is too slow: it did not answer within {limit_s:g} s ([workers] "
            "execution_api_timeout). Give the API server more CPU, more workers or another copy, "
            f"look at the load of its database, or raise {_TIMEOUT_VARIABLE} in the "
            f"{host.name()}'s environment"
        )
    has_answered = not isinstance(error, http.ConnectError)
    is_closed = _is_caused_by(error, *_CLOSED_DURING_TLS, ConnectionResetError)
    if isinstance(error, (http.NetworkError, http.RemoteProtocolError)) and (
        has_answered or is_closed
    ):
        return (
            "closed the connection without an answer: the API server, or a load balancer before "
            "it, was restarted or is overloaded, or the load balancer has no API server behind "
            "it. Look at its log"
        )
    return ""


def _refusal_reason(error: Exception, code: int, path: str) -> str:
    if code in (HTTPStatus.UNAUTHORIZED, HTTPStatus.FORBIDDEN):
        return (
            f"the Execution API refused the workload's token (HTTP {code}: {error}). It expires "
            f"when the invocation waits longer than {TOKEN_LIFETIME_OPTION}; otherwise scheduler "
            "and API server do not share [api_auth] jwt_secret"
        )
    if code in _LOST_CODES and path.endswith("/run") and detail(error):
        return "Airflow does not know this try of the task any more: it was cleared or deleted"
    return ""


def _wrong_server_reason(error: Any, answered: str) -> str:  # noqa: ANN401 - httpx's or httpx2's
    if error.response.status_code == HTTPStatus.NOT_FOUND and not detail(error):
        return (
            f"{answered}, so no Execution API is there: {_URL_VARIABLE} must be the URL of the "
            "API server, with /execution/ at its end"
        )
    if error.response.is_redirect:
        target = error.response.headers.get("location", "?")
        return f"{answered}, a redirect to {target}: set {_URL_VARIABLE} to where it leads"
    return ""


def _fault_reason(code: int, answered: str, error: Exception) -> str:
    if code == HTTPStatus.TOO_MANY_REQUESTS:
        return f"{answered}: it, or a gateway before it, limits the calls. Raise the limit"
    if code in (HTTPStatus.BAD_GATEWAY, HTTPStatus.SERVICE_UNAVAILABLE, HTTPStatus.GATEWAY_TIMEOUT):
        return (
            f"{answered}: a load balancer or proxy has no API server that answers. Look at the "
            "API servers' health"
        )
    if code >= HTTPStatus.INTERNAL_SERVER_ERROR:
        return f"{answered}: {error}. It failed; its own log has the cause"
    return f"{answered}: {error}"


def _is_of_tls(error: BaseException) -> bool:
    return any(
        isinstance(cause, ssl.SSLError) and not isinstance(cause, _CLOSED_DURING_TLS)
        for cause in causes(error)
    )


def _is_caused_by(error: BaseException, *kinds: type[BaseException]) -> bool:
    return any(isinstance(cause, kinds) for cause in causes(error))


def _via_proxy(server: str) -> str:
    """Which proxy the connection goes through, without its credentials; empty if none."""
    url = urlsplit(server)
    proxy = urllib.request.getproxies().get(url.scheme)
    if not proxy or urllib.request.proxy_bypass(url.netloc):
        return ""
    through = urlsplit(proxy if "://" in proxy else f"http://{proxy}")
    return f" through the proxy {through.netloc.rpartition('@')[2]}"
