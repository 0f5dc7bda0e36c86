"""The log stream of one execution environment: its processes' output and the platform's lines.

Owns the text and the order of Lambda's START, END, REPORT and INIT_REPORT lines.
"""

from __future__ import annotations

import json
import os
import select
import threading
import time
import uuid
from collections import deque
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import IO, Protocol

from local_aws.lambda_service.model import FunctionVersion

#: Bytes of log that `LogType: Tail` returns.
_TAIL_BYTES = 4096


class LogStream(Protocol):
    """The storage of one log stream."""

    def append(self, lines: list[tuple[int, str]]) -> None:
        """Add lines, each with its time in milliseconds since the epoch."""


def timestamp() -> str:
    """The current time in Lambda's format."""
    return datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%S.%f")[:-3] + "Z"


def stream_name(version: str) -> str:
    """A new stream's name: `YYYY/MM/DD/[version]` and 32 hexadecimal digits."""
    return f"{datetime.now(UTC):%Y/%m/%d}/[{version}]{uuid.uuid4().hex}"


class EnvironmentLog:
    """Everything that one environment logs."""

    def __init__(self, function: FunctionVersion, stream: LogStream) -> None:
        self._function = function
        self._stream = stream
        self._lock = threading.Lock()
        self._output: IO[bytes] | None = None
        self._partial = b""
        self._tail: deque[str] = deque(maxlen=512)

    def read_from(self, output: IO[bytes]) -> None:
        """Log the processes' output until all of them have closed it."""
        os.set_blocking(output.fileno(), False)
        self._output = output
        threading.Thread(target=self._pump, args=(output,), name="log", daemon=True).start()

    def drain(self) -> None:
        """Log all output so far."""
        with self._lock:
            self._read_all()
            self._end_line()

    def start(self, request_id: str) -> None:
        """Log the start of an invocation."""
        with self._lock:
            self._tail.clear()
        version = self._function.version
        self._platform(
            "start",
            {"requestId": request_id, "version": version},
            f"START RequestId: {request_id} Version: {version}",
        )

    def failed_init(self, phase: str, duration_ms: float, status: str, error_type: str) -> None:
        """Log a failed init phase; as on Lambda, a successful one has no line."""
        self.drain()
        metrics = {"durationMs": round(duration_ms, 3)}
        self._platform(
            "initReport",
            {"phase": phase, "status": status, "errorType": error_type, "metrics": metrics},
            f"INIT_REPORT Init Duration: {duration_ms:.2f} ms\tPhase: {phase}\t"
            f"Status: {status}\tError Type: {error_type}",
        )

    def finish(
        self,
        request_id: str,
        *,
        duration_ms: float,
        init_ms: float | None,
        max_memory_mb: int,
        failure: str,
    ) -> str:
        """Log the end of an invocation, after its output, and return the end of its log.

        `duration_ms` is without the init phase, `init_ms` None if there was none, and `failure`
        the reason why the runtime was killed, or empty.
        """
        self.drain()
        metrics = {
            "durationMs": round(duration_ms, 3),
            "billedDurationMs": int(duration_ms + (init_ms or 0)) + 1,
            "memorySizeMB": self._function.memory_mb,
            "maxMemoryUsedMB": max_memory_mb,
        }
        if init_ms is not None:
            metrics["initDurationMs"] = round(init_ms, 3)
        if failure:
            self._write_line(failure)
        record: dict[str, object] = {"requestId": request_id, "metrics": metrics}
        if self._function.log_format == "JSON":
            record["status"] = "failure" if failure else "success"
        else:
            self._write_line(f"END RequestId: {request_id}")
        self._platform("report", record, _report(request_id, metrics))
        with self._lock:
            return "\n".join(self._tail).encode()[-_TAIL_BYTES:].decode(errors="ignore")

    def _platform(self, event: str, record: object, text: str) -> None:
        if self._function.log_format == "JSON":
            text = json.dumps({"time": timestamp(), "type": f"platform.{event}", "record": record})
        self._write_line(text)

    def _write_line(self, line: str) -> None:
        with self._lock:
            self._write([line.encode()])

    def _write(self, lines: list[bytes]) -> None:
        now_ms = int(time.time() * 1000)
        decoded = [line.decode(errors="replace") for line in lines if line.strip()]
        self._tail.extend(decoded)
        if decoded:
            self._stream.append([(now_ms, line) for line in decoded])

    def _pump(self, output: IO[bytes]) -> None:
        poll = select.poll()
        poll.register(output, select.POLLIN)
        open_ = True
        while open_:
            poll.poll()
            with self._lock:
                open_ = self._read_all()
        with self._lock:
            self._end_line()
            self._output = None
        output.close()

    def _end_line(self) -> None:
        if self._partial:
            self._write([self._partial])
            self._partial = b""

    def _read_all(self) -> bool:
        """Log the output that can be read without waiting; False at its end."""
        if self._output is None:
            return False
        while True:
            try:
                data = os.read(self._output.fileno(), 65536)
            except BlockingIOError:
                return True
            if not data:
                return False
            *lines, self._partial = (self._partial + data).split(b"\n")
            self._write(lines)


def _report(request_id: str, metrics: Mapping[str, float]) -> str:
    report = (
        f"REPORT RequestId: {request_id}\tDuration: {metrics['durationMs']:.2f} ms\t"
        f"Billed Duration: {metrics['billedDurationMs']} ms\t"
        f"Memory Size: {metrics['memorySizeMB']} MB\t"
        f"Max Memory Used: {metrics['maxMemoryUsedMB']} MB"
    )
    if "initDurationMs" in metrics:
        report += f"\tInit Duration: {metrics['initDurationMs']:.2f} ms"
    return report
