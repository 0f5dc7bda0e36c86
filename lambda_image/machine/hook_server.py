"""Answers the lifecycle hooks of a MicroVM: POST requests that AWS sends inside of the MicroVM.

200 means done. `/ready` and `/validate` may answer 503, and AWS asks again, until their time-out.
https://github.com/aws/agent-toolkit-for-aws/blob/main/skills/specialized-skills/serverless-skills/aws-lambda-microvms/references/lifecycle-model.md

Requests are answered one at a time, on the thread that serves: a process that is to be in a
snapshot should have only one.
"""

from __future__ import annotations

import signal
import socketserver
import sys
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler
from typing import Any

from lambda_executor.contract.micro_vm import HOOK_PATH, HOOK_PORT
from lambda_image.logs import invocation_log

#: The status of a hook's answer, and the reason if it is not 200.
Answer = tuple[int, str]
#: Takes the body of the request. What it raises is answered by 500.
Hook = Callable[[bytes], Answer]

DONE: Answer = (200, "")

#: On every interface, as AWS wants it: its requests need not come from the loopback one.
ADDRESS = ("0.0.0.0", HOOK_PORT)  # noqa: S104 - a MicroVM with NO_INGRESS is reached by nobody

#: More than any body has: the payload's text, escaped, and the MicroVM's id.
_MOST_BYTES = 64 * 1024
#: More than any length has: Python refuses to read a number of thousands of digits.
_MOST_DIGITS = 20
#: How long one request may take to arrive, in seconds: the next one waits for it.
_ARRIVES_WITHIN_S = 5.0
#: How often a background server looks whether it is to end, in seconds.
_LOOKS_EVERY_S = 0.05


class HookServer(socketserver.TCPServer):
    """Listens for hooks; `handle_request` answers one of them.

    Attributes:
        hooks: What each hook does now, by its name. Every other one is answered by 404.
    """

    allow_reuse_address = True  # Its predecessor may have been this program, which began again.

    def __init__(self, address: tuple[str, int] = ADDRESS) -> None:
        self.hooks: Mapping[str, Hook] = {}
        super().__init__(address, _Request)

    @contextmanager
    def in_background(self, hooks: Mapping[str, Hook]) -> Iterator[None]:
        """Answer on another thread while the body runs; it has ended after that."""
        self.hooks = hooks
        thread = threading.Thread(target=self._serve, name="hooks", daemon=True)
        thread.start()
        try:
            yield
        finally:
            self.shutdown()
            thread.join()

    def handle_error(self, request: Any, client_address: Any) -> None:  # noqa: ANN401, ARG002
        """Log that a connection broke; the hook itself was done."""
        reason = repr(sys.exception())
        invocation_log.write("warning", "a hook could not be answered", reason=reason)

    def _serve(self) -> None:
        signal.pthread_sigmask(signal.SIG_BLOCK, signal.valid_signals())  # They are the others'.
        self.serve_forever(_LOOKS_EVERY_S)


class _Request(BaseHTTPRequestHandler):
    """One request; the connection is closed after it."""

    server: HookServer
    timeout = _ARRIVES_WITHIN_S

    def do_POST(self) -> None:
        status, text = self._answered()
        body = text.encode()
        self.send_response(status)
        self.send_header("Content-Type", "text/plain; charset=utf-8")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if body:  # Whoever has all of the answer may be gone, even for a write of nothing.
            self.wfile.write(body)

    def _answered(self) -> Answer:
        length = self.headers.get("Content-Length", "0")
        if not (length.isdecimal() and len(length) < _MOST_DIGITS) or int(length) > _MOST_BYTES:
            return 400, f"a hook's body has at most {_MOST_BYTES} bytes, and says how many"
        given = self.rfile.read(int(length))
        base, _, name = self.path.rpartition("/")
        hook = self.server.hooks.get(name)
        if hook is None or base + "/" != HOOK_PATH:
            return 404, f"there is no such hook; there are {', '.join(self.server.hooks)}"
        try:
            return hook(given)
        except Exception as e:  # noqa: BLE001 - whatever it is, AWS and the log get the reason
            reason = f"{type(e).__name__}: {e}"
            invocation_log.write("error", "a hook failed", hook=name, reason=reason)
            return 500, reason

    def log_message(self, *_: object) -> None:
        """Write nothing: each hook that matters has a line of its own."""
