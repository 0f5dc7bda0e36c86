"""One execution environment: a sandboxed runtime process, its Runtime API and its log stream.

Serves one invocation at a time and is thrown away after a time-out, a crash or a response that
is too large. It knows neither where functions, images and logs are kept nor how many
environments there are; `start` is given all of that.
"""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import IO

from local_aws.functions import FunctionVersion, Invocation, Outcome
from local_aws.logs import EnvironmentLog
from local_aws.runtime_api import MAX_RESPONSE_BYTES, RuntimeApi

_SANDBOX = Path(__file__).with_name("sandbox.py")

#: How long the runtime may take to ask for its next invocation after an answer. What it printed
#: is complete only then; a runtime that takes longer is broken.
_SETTLE_S = 1.0


@dataclass(frozen=True, slots=True)
class RuntimeCommand:
    """The process of an execution environment.

    Attributes:
        argv: The command.
        working_directory: Where it starts.
        variables: All of its environment but `AWS_LAMBDA_RUNTIME_API`.
    """

    argv: Sequence[str]
    working_directory: str
    variables: Mapping[str, str]


class Environment:
    """A runtime process from its cold start to its end.

    Args:
        function: What runs in it.
        command: How it is run.
        log: Where its output and the platform's lines go.

    Raises:
        OSError: The process cannot be started.
    """

    def __init__(
        self, function: FunctionVersion, command: RuntimeCommand, log: EnvironmentLog
    ) -> None:
        self.function = function
        self.idle_since_s = 0.0
        self._log = log
        self._api = RuntimeApi()
        self._init_ms: float | None = None
        self._started_s = time.monotonic()
        try:
            self._process = _start_sandbox(function.memory_mb, command, self._api.address)
        except OSError:
            self._api.close()
            raise
        self._log.read_from(_stream(self._process.stdout))
        self._exited = threading.Event()
        threading.Thread(target=self._watch, name="environment", daemon=True).start()

    @property
    def alive(self) -> bool:
        """Whether its processes run."""
        return self._process.poll() is None

    def wait_until_ready(self, timeout_s: float) -> bool:
        """Wait for the end of the init phase; False when it failed or took longer."""
        ready = self._api.wait_until_ready(timeout_s)
        self._init_ms = (time.monotonic() - self._started_s) * 1000
        return ready

    def invoke(self, invocation: Invocation, init_timeout_s: float) -> Outcome:
        """Run one invocation, the init phase first when it has not been passed.

        Whatever happens comes back as an outcome; one with `environment_usable` False has
        already ended this environment.
        """
        self._log.start(invocation.request_id)
        cold = self._init_ms is None
        ready = self.wait_until_ready(init_timeout_s) if cold else self.alive
        began_s = time.monotonic()
        outcome = self._run(invocation) if ready else self._failed_init(invocation, init_timeout_s)
        took_s = time.monotonic() - began_s
        if not outcome.environment_usable:
            self.end()
        tail = self._log.finish(
            invocation.request_id,
            duration_ms=took_s * 1000,
            init_ms=self._init_ms if cold else None,
            failure="" if outcome.environment_usable else outcome.reason,
        )
        return replace(outcome, log_tail=tail)

    def cut(self) -> None:
        """Cut the lifeline: every process of the environment is killed, soon. May be repeated."""
        _stream(self._process.stdin).close()

    def end(self) -> None:
        """Kill every process of the environment; returns when all are gone. May be repeated."""
        self.cut()
        self._exited.wait()
        self._log.drain()

    def _watch(self) -> None:
        self._process.wait()
        self._exited.set()
        self._api.close()

    def _run(self, invocation: Invocation) -> Outcome:
        answer = self._api.send(invocation, self.function.timeout_s)
        if answer is None:
            return self._no_answer(invocation)
        if answer.too_large:
            return _failure(
                "Function.ResponseSizeTooLarge",
                "Response payload size exceeded maximum allowed payload size "
                f"({MAX_RESPONSE_BYTES} bytes).",
            )
        settled = self._api.wait_until_ready(_SETTLE_S)
        return _answered(answer.payload, answer.is_error, usable=settled)

    def _no_answer(self, invocation: Invocation) -> Outcome:
        """The runtime is still busy when its time is up, or gone."""
        if not self._exited.is_set():
            now = datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%S.%f")[:-3]
            return _failure(
                "Sandbox.Timedout",
                f"{now}Z {invocation.request_id} Task timed out after "
                f"{self.function.timeout_s:.2f} seconds",
            )
        return _failure(
            "Runtime.ExitError",
            f"RequestId: {invocation.request_id} Error: {self._how_it_exited()}",
        )

    def _failed_init(self, invocation: Invocation, init_timeout_s: float) -> Outcome:
        if self._api.init_error is not None:
            return _answered(self._api.init_error, is_error=True, usable=False)
        if self._exited.is_set():
            return self._no_answer(invocation)
        return _failure(
            "Sandbox.Timedout",
            f"RequestId: {invocation.request_id} Error: the init phase timed out after "
            f"{init_timeout_s:.2f} seconds",
        )

    def _how_it_exited(self) -> str:
        status = self._process.wait()
        if status == 0:
            return "Runtime exited without providing a reason"
        if status > 0:
            return f"Runtime exited with error: exit status {status}"
        name = "killed" if -status == signal.SIGKILL else signal.strsignal(-status) or str(-status)
        return f"Runtime exited with error: signal: {name.lower()}"


def _start_sandbox(
    memory_mb: int, command: RuntimeCommand, runtime_api: str
) -> subprocess.Popen[bytes]:
    return subprocess.Popen(
        [sys.executable, "-I", "-S", str(_SANDBOX), str(memory_mb), *command.argv],
        cwd=command.working_directory,
        env={**command.variables, "AWS_LAMBDA_RUNTIME_API": runtime_api},
        stdin=subprocess.PIPE,  # the lifeline
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        start_new_session=True,
    )


def _stream(stream: IO[bytes] | None) -> IO[bytes]:
    assert stream is not None  # noqa: S101 - Popen was given PIPE
    return stream


def _answered(payload: bytes, is_error: bool, *, usable: bool) -> Outcome:
    if not is_error:
        return Outcome(payload, environment_usable=usable)
    try:
        reason = str(json.loads(payload)["errorMessage"])
    except (ValueError, KeyError, TypeError):
        reason = payload[:1024].decode(errors="replace")
    return Outcome(payload, failed=True, reason=reason, environment_usable=usable)


def _failure(error_type: str, message: str) -> Outcome:
    payload = json.dumps({"errorType": error_type, "errorMessage": message}).encode()
    return Outcome(payload, failed=True, reason=message, environment_usable=False)
