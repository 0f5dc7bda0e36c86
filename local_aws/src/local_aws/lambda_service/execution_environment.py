"""One execution environment: its phases, a runtime after another in its sandbox, one log stream.

Serves one invocation at a time, frozen in between. A runtime that fails (a time-out, a crash, a
response that is too large) is killed with all it started, and the next invocation initialises
another in the same sandbox, as
https://docs.aws.amazon.com/lambda/latest/dg/lambda-runtime-environment.html describes. It knows
neither where functions, images and logs are kept nor how many environments there are.
"""

from __future__ import annotations

import json
import signal
import time
from dataclasses import dataclass, replace

from local_aws.lambda_service.environment_log import EnvironmentLog, timestamp
from local_aws.lambda_service.model import FunctionVersion, InvokeRequest, InvokeResponse
from local_aws.lambda_service.runtime_api import MAX_RESPONSE_BYTES, RuntimeApi
from local_aws.sandbox.sandbox import Sandbox

#: How long the runtime may take to ask for its next invocation after an answer. What it printed
#: is complete only then; a runtime that takes longer is broken.
_SETTLE_S = 1.0


@dataclass(frozen=True, slots=True)
class _FailedInit:
    """Why a runtime never asked for its first invocation.

    Attributes:
        reported: The error that the runtime reported; None: it ended without a word.
    """

    timed_out: bool
    reported: bytes | None

    @property
    def error_type(self) -> str:
        """As in `INIT_REPORT`."""
        if self.timed_out:
            return "Sandbox.Timedout"
        return _field(self.reported, "errorType") or "Runtime.ExitError"


class ExecutionEnvironment:
    """An execution environment from its cold start to its end.

    Args:
        tenant_id: For whom alone it runs; empty: for everybody.
        log: Where its output and the platform's lines go.

    Attributes:
        provisioned: Whether it is kept although nobody needs it.
        idle_since_s: When it was last given back.
    """

    def __init__(
        self, function: FunctionVersion, tenant_id: str, sandbox: Sandbox, log: EnvironmentLog
    ) -> None:
        self.function = function
        self.tenant_id = tenant_id
        self.provisioned = False
        self.idle_since_s = 0.0
        self._sandbox = sandbox
        self._log = log
        self._api: RuntimeApi | None = None
        self._init_passed = False
        self._init_ms: float | None = None
        self._log.read_from(sandbox.output)

    @property
    def alive(self) -> bool:
        """Whether it can serve."""
        return self._sandbox.alive

    def initialize(self, limit_s: float) -> None:
        """Go through the init phase; when it fails, the first invocation tries it again."""
        began_s = time.monotonic()
        failure = self._start_runtime(limit_s)
        took_ms = (time.monotonic() - began_s) * 1000
        self._init_passed = True
        if failure is None:
            self._init_ms = took_ms
        else:
            self._log_failed_init("init", took_ms, failure)

    def freeze(self) -> None:
        """Stop every process until the next invocation."""
        self._sandbox.freeze()

    def invoke(self, invocation: InvokeRequest, init_limit_s: float) -> InvokeResponse:
        """Run one invocation, the init phase first when it has not been passed.

        Whatever happens comes back as an outcome.
        """
        if self._init_passed:
            self._sandbox.thaw()
        else:
            self.initialize(init_limit_s)
        self._log.start(invocation.request_id)
        began_s = time.monotonic()
        outcome = self._run(invocation)
        took_ms = (time.monotonic() - began_s) * 1000
        if outcome.runtime_usable:
            self.freeze()
        else:
            self._sandbox.stop()
        init_ms, self._init_ms = self._init_ms, None
        tail = self._log.finish(
            invocation.request_id,
            duration_ms=took_ms,
            init_ms=init_ms,
            max_memory_mb=self._sandbox.peak_mb,
            failure="" if outcome.runtime_usable else outcome.reason,
        )
        return replace(outcome, log_tail=tail)

    def cut(self) -> None:
        """Cut the lifeline: every process of the environment is killed, soon. May be repeated."""
        self._sandbox.cut()

    def end(self) -> None:
        """Kill every process of the environment; returns when all are gone. May be repeated."""
        self._sandbox.end()
        self._log.drain()

    def _run(self, invocation: InvokeRequest) -> InvokeResponse:
        """Have a runtime answer; where there is none, its start counts as part of the time."""
        time_out_s = time.monotonic() + self.function.timeout_s
        if not self._sandbox.running:
            failure = self._start_runtime(self.function.timeout_s)
            if failure is not None:
                took_ms = (time.monotonic() - time_out_s + self.function.timeout_s) * 1000
                self._log_failed_init("invoke", took_ms, failure)
                return self._never_ready(invocation, failure)
        assert self._api is not None  # noqa: S101 - a runtime has been started
        answer = self._api.send(invocation, time_out_s - time.monotonic())
        if answer is None:
            return self._no_answer(invocation, timed_out=self._sandbox.running)
        if answer.too_large:
            return _failure(
                "Function.ResponseSizeTooLarge",
                "Response payload size exceeded maximum allowed payload size "
                f"({MAX_RESPONSE_BYTES} bytes).",
            )
        settled = self._api.wait_until_ready(_SETTLE_S)
        return _answered(answer.payload, answer.is_error, usable=settled)

    def _start_runtime(self, limit_s: float) -> _FailedInit | None:
        """Start a runtime and wait until it asks for an invocation."""
        self._api = api = RuntimeApi()
        self._sandbox.start(api.address, on_exit=api.close)
        if api.wait_until_ready(limit_s):
            return None
        timed_out = self._sandbox.running and api.init_error is None
        self._sandbox.stop()
        return _FailedInit(timed_out, api.init_error)

    def _never_ready(self, invocation: InvokeRequest, failure: _FailedInit) -> InvokeResponse:
        if failure.reported is not None:
            return _answered(failure.reported, is_error=True, usable=False)
        return self._no_answer(invocation, timed_out=failure.timed_out)

    def _no_answer(self, invocation: InvokeRequest, *, timed_out: bool) -> InvokeResponse:
        """The runtime is still busy when its time is up, or gone."""
        if timed_out:
            return _failure(
                "Sandbox.Timedout",
                f"{timestamp()} {invocation.request_id} Task timed out after "
                f"{self.function.timeout_s:.2f} seconds",
            )
        return _failure(
            "Runtime.ExitError",
            f"RequestId: {invocation.request_id} Error: {_exit_reason(self._sandbox.exit_status)}",
        )

    def _log_failed_init(self, phase: str, took_ms: float, failure: _FailedInit) -> None:
        self._log.failed_init(
            phase, took_ms, "timeout" if failure.timed_out else "error", failure.error_type
        )


def _exit_reason(status: int) -> str:
    if status == 0:
        return "Runtime exited without providing a reason"
    if status > 0:
        return f"Runtime exited with error: exit status {status}"
    name = "killed" if -status == signal.SIGKILL else signal.strsignal(-status) or str(-status)
    return f"Runtime exited with error: signal: {name.lower()}"


def _answered(payload: bytes, is_error: bool, *, usable: bool) -> InvokeResponse:
    if not is_error:
        return InvokeResponse(payload, runtime_usable=usable)
    reason = _field(payload, "errorMessage") or payload[:1024].decode(errors="replace")
    return InvokeResponse(payload, failed=True, reason=reason, runtime_usable=usable)


def _field(error: bytes | None, name: str) -> str:
    """A field of an error as runtimes report it; empty where it is of another shape."""
    try:
        return str(json.loads(error or b"")[name])
    except (ValueError, KeyError, TypeError):
        return ""


def _failure(error_type: str, message: str) -> InvokeResponse:
    payload = json.dumps({"errorType": error_type, "errorMessage": message}).encode()
    return InvokeResponse(payload, failed=True, reason=message, runtime_usable=False)
