"""The log stream of one execution environment: its processes' output and the platform's lines.

Owns the text and the order of Lambda's START, END, REPORT and INIT_REPORT lines, and of those for
snapshots: RESTORE_REPORT.
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
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import IO, Protocol

from local_aws.lambda_service.model import FunctionVersion

#: Bytes of log that `LogType: Tail` returns.
_TAIL_BYTES = 4096


class LogStream(Protocol):
    """The storage of one log stream."""

    def append(self, lines: list[tuple[int, str]]) -> None:
        """Add lines, each with its time in milliseconds since the epoch."""


@dataclass(frozen=True, slots=True)
class Restored:
    """How long a restore took, and the part of it that the runtime and its hooks took."""

    duration_ms: float
    billed_ms: float


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

    def init_report(self, phase: str, duration_ms: float, failure: tuple[str, str] | None) -> None:
        """Log an init phase; as on Lambda, one that succeeds has no line but for a snapshot.

        `failure` is the status and the type of the error, as in the line.
        """
        metrics = {"durationMs": round(duration_ms, 3)}
        record: dict[str, object] = {"phase": phase, "metrics": metrics}
        text = f"INIT_REPORT Init Duration: {duration_ms:.2f} ms"
        if failure:
            text += f"\tPhase: {phase}"
        self._phase("initReport", record, text, failure)

    def restore_report(self, duration_ms: float, failure: tuple[str, str] | None) -> None:
        """Log the end of the restore.

        AWS's page has this line for failures only; logs of functions have it without a status, too.
        """
        record: dict[str, object] = {"metrics": {"durationMs": round(duration_ms, 3)}}
        text = f"RESTORE_REPORT Restore Duration: {duration_ms:.2f} ms"
        self._phase("restoreReport", record, text, failure)

    def _phase(
        self, event: str, record: dict[str, object], text: str, failure: tuple[str, str] | None
    ) -> None:
        self.drain()
        record["status"] = "success"
        if failure:
            status, error_type = failure
            record |= {"status": status, "errorType": error_type}
            text += f"\tStatus: {status}"
            if error_type:
                text += f"\tError Type: {error_type}"
        self._platform(event, record, text)

    def finish(  # noqa: PLR0913 - what a REPORT line has
        self,
        request_id: str,
        *,
        duration_ms: float,
        init_ms: float | None,
        restored: Restored | None,
        max_memory_mb: int,
        failure: str,
    ) -> str:
        """Log the end of an invocation, after its output, and return the end of its log.

        `duration_ms` is without the init phase and the restore, `init_ms` and `restored` None if
        there was none, and `failure` the reason why the runtime was killed, or empty.
        """
        self.drain()
        billed_ms = restored.billed_ms if restored else 0
        metrics: dict[str, float] = {
            "durationMs": round(duration_ms, 3),
            "billedDurationMs": int(duration_ms + (init_ms or 0) + billed_ms) + 1,
            "memorySizeMB": self._function.memory_mb,
            "maxMemoryUsedMB": max_memory_mb,
        }
        if init_ms is not None:
            metrics["initDurationMs"] = round(init_ms, 3)
        if restored:
            metrics["restoreDurationMs"] = round(restored.duration_ms, 3)
            metrics["billedRestoreDurationMs"] = int(billed_ms) + 1
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
    if "restoreDurationMs" in metrics:
        report += (
            f"\tRestore Duration: {metrics['restoreDurationMs']:.2f} ms\t"
            f"Billed Restore Duration: {metrics['billedRestoreDurationMs']} ms"
        )
    return report
