"""The process's stdout: each line becomes one JSON object, without secrets.

The lines of the handler, Airflow, tasks and libraries get the fields of the current invocation.
"""

from __future__ import annotations

import io
import json
import os
import sys
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any, BinaryIO

#: The function's credentials: a task may print all its environment variables.
_SECRET_VARIABLES = ("AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN")

#: Shorter values are not secrets, and may be part of ordinary words.
_MIN_SECRET_CHARS = 16

#: Longer lines are cut, as CloudWatch does.
#: https://docs.aws.amazon.com/AmazonCloudWatch/latest/logs/cloudwatch_limits_cwl.html
MAX_LINE_BYTES = 256 * 1024


class LogOutput(io.RawIOBase):
    """Takes bytes and writes whole lines to `raw`."""

    name = "<stdout>"  # Airflow expects the path of a log file here.
    mode = "wb"  # Airflow 3.0 reads it.

    def __init__(self, raw: BinaryIO, environ: Mapping[str, str] = os.environ) -> None:
        self._raw = raw
        self._rest = b""
        self._own = [environ.get(name, "") for name in _SECRET_VARIABLES]
        self._context: Mapping[str, Any] = {}
        self._secrets: list[bytes] = []
        self.about({})

    def about(self, context: Mapping[str, Any], *secrets: str) -> None:
        """Add these fields to each following line, and cut these secrets out."""
        self.end_line()
        self._context = context
        candidates = [*self._own, *secrets]
        self._secrets = [each.encode() for each in candidates if len(each) >= _MIN_SECRET_CHARS]

    def end_line(self) -> None:
        """End and write an unfinished line."""
        self._put(self._rest)
        self._rest = b""

    def write(self, data: Any, /) -> int:  # noqa: ANN401 - any buffer
        """Write the whole lines, and keep an unfinished one."""
        taken = bytes(data)
        *lines, self._rest = (self._rest + taken).split(b"\n")
        for line in lines:
            self._put(line)
        if len(self._rest) > MAX_LINE_BYTES:
            self._cut()
        return len(taken)

    def flush(self) -> None:
        """Flush the stream that the lines go to."""
        self._raw.flush()

    def writable(self) -> bool:
        """Always true."""
        return True

    def fileno(self) -> int:
        """The descriptor of the stream that the lines go to."""
        return self._raw.fileno()

    def _cut(self) -> None:
        """Write an unfinished line, except for an end that may be the beginning of a secret."""
        rest = self._without_secrets(self._rest)
        at = max(0, len(rest) - max(map(len, self._secrets), default=0))
        self._put(rest[:at])
        self._rest = rest[at:]

    def _put(self, line: bytes) -> None:
        if line.strip():
            self._raw.write(self._as_json(line))

    def _without_secrets(self, line: bytes) -> bytes:
        for secret in self._secrets:
            line = line.replace(secret, b"***")
        return line

    def _as_json(self, line: bytes) -> bytes:
        line = self._without_secrets(line)
        try:
            fields = json.loads(line)
        except (ValueError, RecursionError):
            fields = None
        if not isinstance(fields, dict):
            now = datetime.now(UTC).isoformat(timespec="milliseconds")
            text = line.decode(errors="replace")
            fields = {"timestamp": now, "level": "info", "event": text, "logger": "stdout"}
        for name, value in self._context.items():
            fields.setdefault(name, value)
        # A lone surrogate is valid in JSON but not in UTF-8: it is escaped again.
        return json.dumps(fields, ensure_ascii=False).encode(errors="backslashreplace") + b"\n"


_output: LogOutput | None = None


def install() -> None:
    """Replace `sys.stdout`, before anything keeps a reference to it."""
    global _output  # noqa: PLW0603 - a process has one stdout
    _output = LogOutput(sys.stdout.buffer)
    sys.stdout = io.TextIOWrapper(_output, encoding="utf-8", errors="replace", write_through=True)


def about(context: Mapping[str, Any], *secrets: str) -> None:
    """Add these fields to each following line, and cut these secrets out; only if installed."""
    if _output is not None:
        _output.about(context, *secrets)


def end_line() -> None:
    """End and write an unfinished line; only if installed."""
    if _output is not None:
        _output.end_line()
