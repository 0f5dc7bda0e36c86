"""The process's stdout: each line becomes one JSON object, without secrets.

The lines of the handler, Airflow, tasks and libraries get the fields of the current invocation.
"""

from __future__ import annotations

import io
import json
import os
import sys
from collections.abc import Collection, Mapping
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, BinaryIO

from lambda_image.logs.secrets import MIN_DECLARED_CHARS, Secrets, as_bytes

if TYPE_CHECKING:
    from lambda_image.logs.shared_values import SharedValues

#: The function's credentials, of which the key's id is not secret: a task may print all variables.
#: https://docs.aws.amazon.com/lambda/latest/dg/configuration-envvars.html
_SECRET_VARIABLES = (
    "AWS_SECRET_ACCESS_KEY",
    "AWS_SESSION_TOKEN",
    "AWS_CONTAINER_AUTHORIZATION_TOKEN",  # In their place in a function with SnapStart.
)

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
        self._of_invocation: tuple[str, ...] = ()
        self._context: Mapping[str, Any] = {}
        self._shared: SharedValues | None = None
        self.read_credentials(environ)

    @property
    def secrets(self) -> Secrets:
        """What is masked now."""
        if self._shared is not None and self._shared.size_bytes() != self._shared_bytes:
            self._update()
        return self._secrets

    def read_credentials(self, environ: Mapping[str, str]) -> None:
        """Mask the credentials in these variables, in the place of all that was masked before."""
        self._credentials = Secrets(*(environ.get(name, "") for name in _SECRET_VARIABLES))
        self.hide(())

    def about(self, context: Mapping[str, Any], *secrets: str) -> None:
        """Add these fields to each following line, and mask these secrets too."""
        self.end_line()
        self._context = context
        self._of_invocation = secrets
        self._update()

    def forget(self) -> None:
        """Mask what `mask_shared` was given no longer."""
        self.end_line()
        if self._shared is not None:
            self._shared.clear()
        self._update()

    def hide(self, values: Collection[str]) -> None:
        """Mask these values from now on, in the place of those of the last call."""
        self._own = self._credentials.and_(*values, least_chars=MIN_DECLARED_CHARS)
        self._update()

    def share(self) -> None:
        """Share what `mask_shared` is given with the processes that are forked from now on."""
        from lambda_image.logs.shared_values import SharedValues  # noqa: PLC0415 - with SnapStart

        if self._shared is not None:
            self._shared.close()
        self._shared = SharedValues()
        self._update()

    def mask_shared(self, *values: str) -> None:
        """Mask these values too until `forget`; does nothing without `share`."""
        if self._shared is not None:
            self._shared.add(*values)

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
            line, self._rest = self.secrets.cut(self._rest)
            self._put(line)
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

    def _update(self) -> None:
        self._secrets = self._own.and_(*self._of_invocation)
        if self._shared is not None:
            self._shared_bytes = self._shared.size_bytes()  # Before they are read: more may come.
            self._secrets = self._secrets.and_(*self._shared.values())

    def _put(self, line: bytes) -> None:
        if line.strip():
            self._raw.write(self._as_json(line))

    def _as_json(self, line: bytes) -> bytes:
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
        written = json.dumps(fields, ensure_ascii=False).encode(errors="backslashreplace")
        return self.secrets.masked(written) + b"\n"


_output: LogOutput | None = None


def install() -> None:
    """Replace `sys.stdout`, before anything keeps a reference to it."""
    global _output  # noqa: PLW0603 - a process has one stdout
    _output = LogOutput(sys.stdout.buffer)
    sys.stdout = io.TextIOWrapper(_output, encoding="utf-8", errors="replace", write_through=True)


def about(context: Mapping[str, Any], *secrets: str) -> None:
    """Add these fields to each following line, and mask these secrets too; only if installed."""
    if _output is not None:
        _output.about(context, *secrets)


def forget() -> None:
    """Mask what `mask_shared` was given no longer; only if installed."""
    if _output is not None:
        _output.forget()


def read_credentials() -> None:
    """Mask the credentials in today's variables from now on; only if installed."""
    if _output is not None:
        _output.read_credentials(os.environ)


def hide(values: Collection[str]) -> None:
    """Mask these values from now on, in the place of those of the last call; only if installed."""
    if _output is not None:
        _output.hide(values)


def share() -> None:
    """Share what `mask_shared` is given with the processes that are forked; only if installed."""
    if _output is not None:
        _output.share()


def mask_shared(*values: str) -> None:
    """Mask these values too until `forget`, in every process that shares them."""
    if _output is not None:
        _output.mask_shared(*values)


def secrets() -> Secrets:
    """What is masked now: credentials, the secrets of `hide`, the token of the running workload."""
    return Secrets() if _output is None else _output.secrets


def masked(text: str) -> str:
    """The text without what is masked now."""
    return secrets().masked(as_bytes(text)).decode(errors="replace")


def end_line() -> None:
    """End and write an unfinished line; only if installed."""
    if _output is not None:
        _output.end_line()
