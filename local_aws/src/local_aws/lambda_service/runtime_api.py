"""The Lambda Runtime API of one execution environment, on its own port.

Its routes: https://docs.aws.amazon.com/lambda/latest/dg/runtimes-api.html and, for snapshots,
https://docs.aws.amazon.com/lambda/latest/dg/snapstart-runtime-hooks-custom.html
What it answers out of turn is what AWS's own emulator answers:
https://github.com/aws/aws-lambda-runtime-interface-emulator, internal/lambda/core/states.go
"""

from __future__ import annotations

import contextlib
import json
import re
import socket
import threading
import time
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler
from typing import ClassVar

from local_aws.lambda_service import credentials
from local_aws.lambda_service.credentials import Credentials
from local_aws.lambda_service.model import InvokeRequest

#: 6 MB and Lambda's margin: https://docs.aws.amazon.com/lambda/latest/dg/gettingstarted-limits.html
MAX_RESPONSE_BYTES = 6 * 1024 * 1024 + 100

_ANSWER = re.compile(r"/2018-06-01/runtime/invocation/([^/]+)/(response|error)")
_ACCEPTED = b'{"status":"OK"}'


@dataclass(frozen=True, slots=True)
class Answer:
    """The runtime's answer to an invocation: a response or an error's JSON."""

    payload: bytes
    is_error: bool
    too_large: bool = False


class RuntimeApi:
    """One environment's Runtime API; listens until `close`, which also ends every wait early.

    Args:
        credentials: What it serves to an environment of a snapshot; None: it is none.
    """

    def __init__(self, credentials: Credentials | None = None) -> None:
        self.credentials = credentials
        self._state = threading.Condition()
        self._waiting_for_next = False
        self._init_passed = False
        #: The open invocation and its deadline in milliseconds since the epoch.
        self._open: tuple[InvokeRequest, int] | None = None
        self._answer: Answer | None = None
        #: The error that the runtime reported for its init phase.
        self.init_error: bytes | None = None
        #: The error that the runtime reported for its hooks after the restore.
        self.restore_error: bytes | None = None
        self._restorable = False
        self._restored = False
        self._closed = False
        self._socket = socket.create_server(("127.0.0.1", 0))
        self._address = f"127.0.0.1:{self._socket.getsockname()[1]}"
        threading.Thread(target=self._accept, name="runtime-api", daemon=True).start()

    @property
    def variables(self) -> dict[str, str]:
        """The environment variables that lead the runtime here."""
        variables = {"AWS_LAMBDA_RUNTIME_API": self._address}
        if self.credentials:
            uri = f"http://{self._address}{credentials.PATH}"
            variables["AWS_CONTAINER_CREDENTIALS_FULL_URI"] = uri
        return variables

    def wait_until_ready(self, timeout_s: float) -> bool:
        """Wait for the runtime to ask for its next invocation."""
        with self._state:
            self._state.wait_for(lambda: self._waiting_for_next or self._failed, timeout_s)
            return self._waiting_for_next and not self._closed

    def wait_until_restorable(self, timeout_s: float) -> bool:
        """Wait for the end of the init phase of a snapshot: the runtime waits to be restored."""
        with self._state:
            self._state.wait_for(
                lambda: self._restorable or self._waiting_for_next or self._failed, timeout_s
            )
            return self._restorable and not self._failed

    def restorable(self) -> None:
        """Note that the runtime waits to be restored."""
        with self._state:
            self._restorable = True
            self._state.notify_all()

    def restore(self) -> None:
        """Let the runtime that waits to be restored continue."""
        with self._state:
            self._restored = True
            self._state.notify_all()

    @property
    def _failed(self) -> bool:
        return self._closed or self.init_error is not None or self.restore_error is not None

    def send(self, invocation: InvokeRequest, timeout_s: float) -> Answer | None:
        """Hand an invocation to the runtime; None: it timed out or the environment is gone."""
        with self._state:
            self._open = (invocation, int((time.time() + timeout_s) * 1000))
            self._answer = None
            self._state.notify_all()
            self._state.wait_for(lambda: self._answer or self._closed, timeout_s)
            self._open = None
            return self._answer

    def close(self) -> None:
        """Wake every waiter and free the port."""
        with self._state:
            if self._closed:
                return
            self._closed = True
            self._state.notify_all()
        # Unlike `close`, this wakes the accepting thread on Linux.
        self._socket.shutdown(socket.SHUT_RDWR)
        self._socket.close()

    def _accept(self) -> None:
        handler = type("Handler", (_Handler,), {"api": self})
        while True:
            try:
                connection, peer = self._socket.accept()
            except OSError:
                return
            threading.Thread(
                target=_serve, args=(handler, connection, peer), name="runtime-api", daemon=True
            ).start()

    def next_invocation(self) -> tuple[InvokeRequest, int] | None:
        """Wait for an invocation and its deadline in ms; None: the environment is gone.

        Until an invocation is answered, it is the next one for every caller.
        """
        with self._state:
            self._waiting_for_next = self._init_passed = True
            self._state.notify_all()
            self._state.wait_for(lambda: self._open or self._closed)
            self._waiting_for_next = False
            return self._open

    def next_restore(self) -> bool:
        """Wait until the runtime may continue after its init phase; False: it may not."""
        self.restorable()
        with self._state:
            self._state.wait_for(lambda: self._restored or self._closed)
            return not self._closed

    def accept_answer(self, request_id: str, answer: Answer) -> bool:
        """Accept the answer to the current invocation; False for any other request id."""
        with self._state:
            if self._open is None or request_id != self._open[0].request_id:
                return False
            self._open, self._answer = None, answer
            self._state.notify_all()
            return True

    def accept_init_error(self, body: bytes) -> str | None:
        """Record the error that ended the init phase; returns the reason if that is over."""
        with self._state:
            if self._init_passed:
                state = "Running" if self._open else "Ready"
                return (
                    f"State transition from {state} to InitError failed for runtime. Error: "
                    "State transition is not allowed"
                )
            self.init_error = body
            self._state.notify_all()
            return None

    def accept_restore_error(self, body: bytes) -> None:
        """Record the error of a hook after the restore."""
        with self._state:
            self.restore_error = body
            self._state.notify_all()


def _serve(handler: type[_Handler], connection: socket.socket, peer: object) -> None:
    # A killed runtime leaves its connection in any state.
    with contextlib.suppress(OSError), connection:
        handler(connection, peer, None)  # type: ignore[arg-type] # no server is behind it


class _Handler(BaseHTTPRequestHandler):
    api: ClassVar[RuntimeApi]
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True

    def do_GET(self) -> None:
        if self.path == "/2018-06-01/runtime/restore/next":
            if self.api.next_restore():
                self._reply(200, b"")
            else:
                self.close_connection = True
            return
        if self.path == credentials.PATH and self.api.credentials:
            document = self.api.credentials.document(self.headers.get("Authorization", ""))
            if document is None:
                self._reply(404, _error("InvalidToken", "no credentials for the provided token"))
            else:
                self._reply(200, document)
            return
        if self.path != "/2018-06-01/runtime/invocation/next":
            self._reply(404, _error("InvalidPath", self.path))
            return
        taken = self.api.next_invocation()
        if taken is None:
            self.close_connection = True
            return
        invocation, deadline_ms = taken
        tenant_id = invocation.tenant_id
        self._reply(
            200,
            invocation.payload,
            {
                "Lambda-Runtime-Aws-Request-Id": invocation.request_id,
                "Lambda-Runtime-Deadline-Ms": str(deadline_ms),
                "Lambda-Runtime-Invoked-Function-Arn": invocation.invoked_arn,
                "Lambda-Runtime-Trace-Id": f"Root=1-{int(time.time()):08x}-{'0' * 24};Sampled=0",
                **({"Lambda-Runtime-Aws-Tenant-Id": tenant_id} if tenant_id else {}),
            },
        )

    def do_POST(self) -> None:
        body = self._body()
        if self.path == "/2018-06-01/runtime/init/error":
            if reason := self.api.accept_init_error(body):
                self._reply(403, _error("InvalidStateTransition", reason))
            else:
                self._reply(202, _ACCEPTED)
            return
        if self.path == "/2018-06-01/runtime/restore/error":
            self.api.accept_restore_error(body)
            self._reply(202, _ACCEPTED)
            return
        match = _ANSWER.fullmatch(self.path)
        if match is None:
            self._reply(404, _error("InvalidPath", self.path))
            return
        request_id, kind = match.groups()
        too_large = kind == "response" and len(body) > MAX_RESPONSE_BYTES
        answer = Answer(b"" if too_large else body, kind == "error", too_large)
        if not self.api.accept_answer(request_id, answer):
            self._reply(400, _error("InvalidRequestID", "Invalid request ID"))
        elif too_large:
            self._reply(413, _error("RequestEntityTooLarge", f"{len(body)} bytes"))
        else:
            self._reply(202, _ACCEPTED)

    def log_message(self, format: str, *args: object) -> None:
        """Do not log the runtime's requests."""

    def _body(self) -> bytes:
        if self.headers.get("Transfer-Encoding", "").lower() != "chunked":
            return self.rfile.read(int(self.headers.get("Content-Length") or 0))
        chunks = []
        while size := int(self.rfile.readline().split(b";")[0], 16):
            chunks.append(self.rfile.read(size))
            self.rfile.readline()
        while self.rfile.readline().strip():  # trailers
            pass
        return b"".join(chunks)

    def _reply(self, status: int, body: bytes, headers: dict[str, str] | None = None) -> None:
        self.send_response(status)
        for name, value in (headers or {}).items():
            self.send_header(name, value)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)


def _error(error_type: str, message: str) -> bytes:
    return json.dumps({"errorType": error_type, "errorMessage": message}).encode()
