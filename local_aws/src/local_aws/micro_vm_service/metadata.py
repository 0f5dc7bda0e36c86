"""The metadata service of MicroVMs (IMDSv2), from which the SDKs get the execution role's session.

All MicroVMs share the machine's network, so the address is not 169.254.169.254: each has a URL of
its own at one server, in `AWS_EC2_METADATA_SERVICE_ENDPOINT`. It is plain HTTP, as on AWS.
https://docs.aws.amazon.com/AWSEC2/latest/UserGuide/instancedata-data-retrieval.html
"""

from __future__ import annotations

import json
import secrets
import threading
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from local_aws.lambda_service.credentials import Credentials

#: Seconds for which a session is valid; measured by third parties, as AWS does not say.
_VALID_S = 55 * 60
_TOKEN = "/latest/api/token"  # noqa: S105 - a path
_TOKEN_HEADER = "x-aws-ec2-metadata-token"  # noqa: S105 - a name
_TTL_HEADER = "x-aws-ec2-metadata-token-ttl-seconds"
_ROLES = "/latest/meta-data/iam/security-credentials/"
_ROLE = "execution_role"


class MetadataService:
    """Serves the metadata of all MicroVMs until `close`."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._known: dict[str, _Metadata] = {}
        service = self

        class Handler(BaseHTTPRequestHandler):
            def do_PUT(self) -> None:
                self._answer("PUT")

            def do_GET(self) -> None:
                self._answer("GET")

            def log_message(self, *_arguments: object) -> None:
                """Nothing: the log must not have the URLs, which lead to credentials."""

            def _answer(self, method: str) -> None:
                headers = {name.lower(): value for name, value in self.headers.items()}
                status, text = service._answer(method, self.path, headers)
                self.send_response(status)
                for name, value in (
                    ("Content-Type", "text/plain"),
                    ("Content-Length", str(len(text))),
                    (_TTL_HEADER, headers.get(_TTL_HEADER)),
                ):
                    if value is not None:
                        self.send_header(name, value)
                self.end_headers()
                self.wfile.write(text)

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        threading.Thread(target=self._server.serve_forever, name="metadata", daemon=True).start()

    def add(self, session: Callable[[], Mapping[str, str]] | None) -> str:
        """Serve a MicroVM; return its URL.

        Args:
            session: Makes a session of its role, as environment variables; None: it has no role.
        """
        name = secrets.token_urlsafe(16)
        with self._lock:
            self._known[name] = _Metadata(session)
        return f"http://127.0.0.1:{self._server.server_address[1]}/{name}"

    def remove(self, url: str) -> None:
        """Serve a MicroVM no longer."""
        with self._lock:
            self._known.pop(url.rpartition("/")[2], None)

    def close(self) -> None:
        """Stop serving."""
        self._server.shutdown()
        self._server.server_close()

    def _answer(self, method: str, path: str, headers: Mapping[str, str]) -> tuple[int, bytes]:
        name, _, rest = path.removeprefix("/").partition("/")
        with self._lock:
            metadata = self._known.get(name)
        if metadata is None:
            return 404, b""
        return metadata.answer(method, f"/{rest}", headers)


class _Metadata:
    """The metadata of one MicroVM."""

    def __init__(self, session: Callable[[], Mapping[str, str]] | None) -> None:
        self._token = secrets.token_urlsafe(32)
        self._credentials = session and Credentials(self._token, session, _VALID_S)

    def answer(self, method: str, path: str, headers: Mapping[str, str]) -> tuple[int, bytes]:
        """Status and text of an answer."""
        if path == _TOKEN:
            asks_rightly = method == "PUT" and headers.get(_TTL_HEADER)
            return (200, self._token.encode()) if asks_rightly else (400, b"")
        credentials = self._credentials
        if method != "GET" or credentials is None or path not in {_ROLES, f"{_ROLES}{_ROLE}"}:
            return 404, b""
        document = credentials.document(headers.get(_TOKEN_HEADER, ""))
        if document is None:
            return 401, b""
        if path == _ROLES:
            return 200, _ROLE.encode()
        now = datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
        described = {"Code": "Success", "Type": "AWS-HMAC", "LastUpdated": now}
        return 200, json.dumps(described | json.loads(document)).encode()
