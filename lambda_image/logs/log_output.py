"""stdout, as everything in this process has it: each line one JSON object, none with a secret.

Ours, Airflow's and the tasks' lines come through here on their way to the log stream, and so does
what a library prints. It knows which invocation is under way, and nothing of what is logged.
"""

from __future__ import annotations

import io
import json
import os
import sys
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any, BinaryIO

#: The function's own credentials. A task that prints its environment must not give them away to
#: whoever may read logs.
_SECRET_VARIABLES = ("AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN")

#: Shorter ones are no secrets, but parts of other words.
_MIN_SECRET_CHARS = 16

#: What has no line end is cut here, as Lambda's log streams cut a line.
#: https://docs.aws.amazon.com/AmazonCloudWatch/latest/logs/cloudwatch_limits_cwl.html
MAX_LINE_BYTES = 256 * 1024


class LogOutput(io.RawIOBase):
    """Takes bytes, and writes whole lines.

    Args:
        raw: The stream that they go to.
        environ: Has the secrets that are always cut out.
    """

    name = "<stdout>"  # Airflow looks for the path of a log file here.
    mode = "wb"  # Airflow 3.0 looks at it.

    def __init__(self, raw: BinaryIO, environ: Mapping[str, str] = os.environ) -> None:
        self._raw = raw
        self._rest = b""
        self._own = [environ.get(name, "") for name in _SECRET_VARIABLES]
        self._context: Mapping[str, Any] = {}
        self._secrets: list[bytes] = []
        self.about({})

    def about(self, context: Mapping[str, Any], *secrets: str) -> None:
        """Say what the lines are about from now on; what has no end yet is about the last one.

        Args:
            context: Fields that each line gets, unless it has them.
            secrets: What is cut out of each line.
        """
        self.end_line()
        self._context = context
        candidates = [*self._own, *secrets]
        self._secrets = [each.encode() for each in candidates if len(each) >= _MIN_SECRET_CHARS]

    def end_line(self) -> None:
        """Write what has no end yet: what comes next is no part of it."""
        self._put(self._rest)
        self._rest = b""

    def write(self, data: Any, /) -> int:  # noqa: ANN401 - any buffer
        """Take some bytes; what is no whole line yet waits for the rest of it."""
        taken = bytes(data)
        *lines, self._rest = (self._rest + taken).split(b"\n")
        for line in lines:
            self._put(line)
        if len(self._rest) > MAX_LINE_BYTES:
            self._cut()
        return len(taken)

    def flush(self) -> None:
        """Hand on what was written."""
        self._raw.flush()

    def writable(self) -> bool:
        """Whether it can be written to."""
        return True

    def fileno(self) -> int:
        """The descriptor of the stream that the lines go to."""
        return self._raw.fileno()

    def _cut(self) -> None:
        """Write what there is of a line, without what may be the beginning of a secret."""
        rest = self._without_secrets(self._rest)
        at = max(0, len(rest) - max(map(len, self._secrets), default=0))
        self._put(rest[:at])
        self._rest = rest[at:]

    def _put(self, line: bytes) -> None:
        if line.strip():
            self._raw.write(self._dressed(line))

    def _without_secrets(self, line: bytes) -> bytes:
        for secret in self._secrets:
            line = line.replace(secret, b"***")
        return line

    def _dressed(self, line: bytes) -> bytes:
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
        # A lone surrogate, which JSON can hold and UTF-8 cannot, is escaped again.
        return json.dumps(fields, ensure_ascii=False).encode(errors="backslashreplace") + b"\n"


_output: LogOutput | None = None


def install() -> None:
    """Put it in the place of stdout; before anything keeps a reference to that."""
    global _output  # noqa: PLW0603 - a process has one stdout
    _output = LogOutput(sys.stdout.buffer)
    sys.stdout = io.TextIOWrapper(_output, encoding="utf-8", errors="replace", write_through=True)


def about(context: Mapping[str, Any], *secrets: str) -> None:
    """Say what the lines are about from now on; does nothing where stdout is a common one."""
    if _output is not None:
        _output.about(context, *secrets)


def end_line() -> None:
    """Write out a line that was left without an end; does nothing where stdout is a common one."""
    if _output is not None:
        _output.end_line()
