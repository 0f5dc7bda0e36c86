"""Takes what tasks say of themselves, outside of everything that is attacked."""

from __future__ import annotations

import json
import socketserver
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

#: A task's code began, continued after it had left (deferred, rescheduled), left, raised an
#: exception of its own, came to its end; its callback ran.
Event = Literal["start", "resume", "leave", "raise", "end", "callback"]


@dataclass(frozen=True, slots=True)
class Line:
    """One event of a try; `at_s` is the recorder's time, in seconds since the epoch."""

    dag_id: str
    task_id: str
    map_index: int
    try_number: int
    event: Event
    pid: int
    at_s: float


class Recorder:
    """Writes every line to a file before it answers.

    Attributes:
        address: Where tasks connect, as `host:port`.
        lines: What was recorded so far, in order.
    """

    def __init__(self, file: Path) -> None:
        self.lines: list[Line] = []
        self._file = file.open("w", encoding="utf-8")
        self._lock = threading.Lock()
        self._server = socketserver.ThreadingTCPServer(("127.0.0.1", 0), self._handler())
        self._server.daemon_threads = True
        host, port = self._server.server_address[:2]
        self.address = f"{host!s}:{port}"

    def started(self) -> int:
        """How many task instances have begun."""
        with self._lock:
            return len({(line.dag_id, line.task_id, line.map_index) for line in self.lines})

    @contextmanager
    def running(self) -> Iterator[Recorder]:
        """Record until the block ends."""
        thread = threading.Thread(target=self._server.serve_forever, args=(0.1,))
        thread.start()
        try:
            yield self
        finally:
            self._server.shutdown()
            thread.join()
            self._server.server_close()
            self._file.close()

    def _take(self, raw: bytes) -> None:
        line = Line(**json.loads(raw), at_s=time.time())
        with self._lock:
            self.lines.append(line)
            print(raw.decode().strip(), file=self._file, flush=True)

    def _handler(self) -> type[socketserver.StreamRequestHandler]:
        take = self._take

        class Handler(socketserver.StreamRequestHandler):
            def handle(self) -> None:
                if raw := self.rfile.readline():
                    take(raw)
                    self.wfile.write(b"+")

        return Handler
