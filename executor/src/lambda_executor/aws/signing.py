"""Requests that differ from one of botocore's only in their body, their time and their signature.

botocore makes the first request of a kind: with the endpoint that it resolves (FIPS, dual-stack,
`endpoint_url`), its headers and its user agent. The others are copies of it, and they are signed
here, because a signature by botocore takes 0.2 ms under the interpreter lock, and one by awscrt
0.1 ms. A copy is used only if the signature that is made here of botocore's own request is
botocore's, so whatever this module does not know is left to boto3.
https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_sigv-create-signed-request.html
"""

from __future__ import annotations

import functools
import hashlib
import hmac
import re
import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote, urlsplit

ALGORITHM = "AWS4-HMAC-SHA256"
_AUTHORIZATION = re.compile(
    rf"{ALGORITHM} Credential=(?P<access_key>[^/]+)/(?P<date>\d{{8}})/(?P<region>[^/]+)/"
    r"(?P<service>[^/]+)/aws4_request, SignedHeaders=(?P<signed>[^,]+), Signature=(?P<hex>\w+)"
)
_TIME = "x-amz-date"
_TOKEN = "x-amz-security-token"  # noqa: S105 - the name of a header
#: Headers of one request; each copy has its own or none. The last four are those of tracers.
#: https://www.w3.org/TR/trace-context/
#: https://docs.aws.amazon.com/xray/latest/devguide/xray-concepts.html
_OF_ONE = frozenset(
    {
        _TIME,
        _TOKEN,
        "amz-sdk-invocation-id",
        "amz-sdk-request",
        "authorization",
        "content-length",
        "host",
        "baggage",
        "traceparent",
        "tracestate",
        "x-amzn-trace-id",
    }
)


@dataclass(frozen=True, slots=True)
class Credentials:
    """The credentials of one request."""

    access_key: str
    secret_key: str
    token: str | None


@dataclass(frozen=True, slots=True)
class Template:
    """What all requests of one kind have in common.

    Attributes:
        url: Where they go.
        path: The path and the query.
        method: GET or POST.
        headers: Those that are the same in all of them.
        scope: The Region and the service of the signature.
        canonical: The first lines of the canonical request.
        signed: The names of the signed headers, in order.
    """

    url: str
    path: str
    method: str
    headers: tuple[tuple[str, str], ...]
    scope: tuple[str, str]
    canonical: str
    signed: tuple[str, ...]

    @classmethod
    def of(cls, request: Any, credentials: Credentials) -> Template | None:  # noqa: ANN401 - AWSPreparedRequest
        """Return the template of a request that botocore has signed; None: it cannot be copied."""
        headers = {name.lower(): _text(value) for name, value in request.headers.items()}
        match = _AUTHORIZATION.fullmatch(headers.get("authorization", ""))
        body = request.body if isinstance(request.body, bytes) else b""
        if match is None or _TIME not in headers:
            return None
        url = urlsplit(request.url)
        path = f"{url.path or '/'}?{url.query}" if url.query else url.path or "/"
        headers["host"] = headers.get("host", url.netloc)
        template = cls(
            url=request.url,
            path=path,
            method=request.method,
            headers=tuple(
                (name, value)
                for name, value in headers.items()
                if name == "host" or name not in _OF_ONE
            ),
            scope=(match["region"], match["service"]),
            canonical="\n".join(
                (
                    request.method,
                    quote(url.path or "/", safe="/~"),
                    "&".join(sorted(url.query.split("&"))),
                )
            ),
            signed=tuple(match["signed"].split(";")),
        )
        if not {_TIME, _TOKEN, *dict(template.headers)}.issuperset(template.signed):
            return None  # A copy would not have what was signed.
        ours = template.authorization(headers, body, credentials, headers[_TIME])
        return template if ours == headers["authorization"] else None

    def request_headers(self, body: bytes, credentials: Credentials) -> list[tuple[str, str]]:
        """Return all headers of a request with this body, its signature among them."""
        now = time.strftime("%Y%m%dT%H%M%SZ", time.gmtime())
        own = [(_TIME, now)]
        if credentials.token:
            own.append((_TOKEN, credentials.token))
        headers = [*self.headers, *own]
        signature = self.authorization(dict(headers), body, credentials, now)
        return [*headers, ("content-length", str(len(body))), ("authorization", signature)]

    def authorization(
        self, headers: Mapping[str, str], body: bytes, credentials: Credentials, now: str
    ) -> str:
        """Return the value of the header `Authorization`."""
        date, signed = now[:8], ";".join(self.signed)
        lines = "".join(
            f"{name}:{' '.join(headers.get(name, '').split())}\n" for name in self.signed
        )
        payload = hashlib.sha256(body).hexdigest()
        canonical = f"{self.canonical}\n{lines}\n{signed}\n{payload}"
        scope = f"{date}/{self.scope[0]}/{self.scope[1]}/aws4_request"
        to_sign = f"{ALGORITHM}\n{now}\n{scope}\n{hashlib.sha256(canonical.encode()).hexdigest()}"
        signing = _signing(credentials.secret_key, date, *self.scope).copy()
        signing.update(to_sign.encode())
        return (
            f"{ALGORITHM} Credential={credentials.access_key}/{scope}, "
            f"SignedHeaders={signed}, Signature={signing.hexdigest()}"
        )


@functools.lru_cache(maxsize=16)
def _signing(secret_key: str, date: str, region: str, service: str) -> hmac.HMAC:
    """Return a signature of nothing, to copy: its key is the same all day.

    Unlike `hmac.digest`, which gives the interpreter lock away each time.
    """
    key = f"AWS4{secret_key}".encode()
    for part in (date, region, service, "aws4_request"):
        key = hmac.digest(key, part.encode(), "sha256")
    return hmac.new(key, digestmod="sha256")


def _text(value: str | bytes) -> str:
    return value.decode() if isinstance(value, bytes) else str(value)
