"""One execution environment: a sandbox, one runtime at a time in it, and a log stream.

Serves one invocation at a time and is frozen in between. A runtime that fails (time-out, crash, too
large a response) is killed with all it started; the next invocation starts another in the sandbox:
https://docs.aws.amazon.com/lambda/latest/dg/lambda-runtime-environment.html
"""

from __future__ import annotations

import json
import signal
import time
from dataclasses import dataclass, replace

from local_aws.lambda_service.credentials import Credentials
from local_aws.lambda_service.environment_log import EnvironmentLog, Restored, timestamp
from local_aws.lambda_service.function_faults import FunctionFaults, NoFaults, under
from local_aws.lambda_service.model import FunctionVersion, InvokeRequest, InvokeResponse
from local_aws.lambda_service.runtime_api import MAX_RESPONSE_BYTES, RuntimeApi
from local_aws.sandbox.sandbox import Sandbox

#: Seconds from an answer to the runtime's request for its next invocation, when its output is
#: complete; a runtime that takes longer is broken.
_SETTLE_S = 1.0


@dataclass(frozen=True, slots=True)
class FailedInit:
    """A runtime that never asked for an invocation, and the error that it reported, if any."""

    timed_out: bool
    reported: bytes | None

    @property
    def error_type(self) -> str:
        """As in `INIT_REPORT`."""
        if self.timed_out:
            return "Sandbox.Timedout"
        return _field(self.reported, "errorType") or "Runtime.ExitError"

    @property
    def status(self) -> tuple[str, str]:
        """Status and error type, as in `INIT_REPORT`."""
        return "timeout" if self.timed_out else "error", self.error_type


class ExecutionEnvironment:
    """An execution environment from its cold start to its end.

    Args:
        credentials: What its Runtime API serves; None: they are in the variables.

    Attributes:
        tenant_id: The only tenant it serves; empty: the function does not isolate its tenants.
        provisioned: Whether it counts towards provisioned concurrency and is kept when idle.
        faults: What is to go wrong in it.
    """

    def __init__(
        self,
        function: FunctionVersion,
        tenant_id: str,
        sandbox: Sandbox,
        log: EnvironmentLog,
        credentials: Credentials | None = None,
    ) -> None:
        self.function = function
        self.tenant_id = tenant_id
        self.provisioned = False
        self.faults: FunctionFaults = NoFaults()
        self.idle_since_s = 0.0
        self._sandbox = sandbox
        self._log = log
        self._api: RuntimeApi | None = None
        self._init_passed = False
        self._init_ms: float | None = None
        self._restored: Restored | None = None
        self._credentials = credentials
        self._log.read_from(sandbox.output)

    @property
    def alive(self) -> bool:
        """Whether it can serve invocations."""
        return self._sandbox.alive

    def initialize(self, limit_s: float) -> None:
        """Run the init phase; if it fails, the first invocation repeats it."""
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
        """Run one invocation, after the init phase if needed; a failure is a response, too."""
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
        restored, self._restored = self._restored, None
        tail = self._log.finish(
            invocation.request_id,
            duration_ms=took_ms,
            init_ms=init_ms,
            restored=restored,
            max_memory_mb=self._sandbox.peak_mb,
            failure="" if outcome.runtime_usable else outcome.reason,
        )
        return replace(outcome, log_tail=tail)

    def cut(self) -> None:
        """Have every process of the environment killed, without waiting. May be repeated."""
        self._sandbox.cut()

    def end(self) -> None:
        """Kill every process of the environment and wait for their end. May be repeated."""
        self._sandbox.end()
        self._log.drain()

    def _run(self, invocation: InvokeRequest) -> InvokeResponse:
        """Pass the invocation to a runtime; the start of a new one counts towards the time-out."""
        began_s = time.monotonic()
        if not self._sandbox.running:
            failure = self._start_runtime(self.function.timeout_s)
            if failure is not None:
                took_ms = (time.monotonic() - began_s) * 1000
                self._log_failed_init("invoke", took_ms, failure)
                return self._never_ready(invocation, failure)
        assert self._api is not None  # noqa: S101 - a runtime has been started
        with under(self.faults.attack(self.function), self._sandbox):
            left_s = began_s + self.function.timeout_s - time.monotonic()
            answer = self._api.send(invocation, left_s)
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

    def _start_runtime(self, limit_s: float) -> FailedInit | None:
        """Start a runtime and wait until it asks for an invocation."""
        api = self._launch()
        # Whoever initialises a runtime anew does not wait for a snapshot.
        api.restore()
        if api.wait_until_ready(limit_s):
            return None
        reported = api.init_error or api.restore_error
        timed_out = self._sandbox.running and reported is None
        self._sandbox.stop()
        return FailedInit(timed_out, reported)

    def _launch(self) -> RuntimeApi:
        """Start a runtime with a Runtime API of its own."""
        self._api = api = RuntimeApi(self._credentials)
        self._sandbox.start(api.variables, on_exit=api.close)
        if self.faults.killed_in_init(self.function):
            self._sandbox.stop()
        return api

    def _never_ready(self, invocation: InvokeRequest, failure: FailedInit) -> InvokeResponse:
        if failure.reported is not None:
            return _answered(failure.reported, is_error=True, usable=False)
        return self._no_answer(invocation, timed_out=failure.timed_out)

    def _no_answer(self, invocation: InvokeRequest, *, timed_out: bool) -> InvokeResponse:
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

    def _log_failed_init(self, phase: str, took_ms: float, failure: FailedInit) -> None:
        self._log.init_report(phase, took_ms, failure.status)


def _exit_reason(status: int) -> str:
    if status == 0:
        return "Runtime exited without providing a reason"
    if status > 0:
        return f"Runtime exited with error: exit status {status}"
    name = "killed" if -status == signal.SIGKILL else signal.strsignal(-status) or str(-status)
    return f"Runtime exited with error: signal: {name.lower()}"


def failure_reason(reported: bytes | None, status: int) -> str:
    """What a runtime reported, or how it exited."""
    if reported is None:
        return _exit_reason(status)
    name, message = _field(reported, "errorType"), _field(reported, "errorMessage")
    return f"{name}: {message}" if name else reported[:1024].decode(errors="replace")


def _answered(payload: bytes, is_error: bool, *, usable: bool) -> InvokeResponse:
    if not is_error:
        return InvokeResponse(payload, runtime_usable=usable)
    reason = _field(payload, "errorMessage") or payload[:1024].decode(errors="replace")
    return InvokeResponse(payload, failed=True, reason=reason, runtime_usable=usable)


def _field(error: bytes | None, name: str) -> str:
    """A field of a runtime's error report; empty if the report has another shape."""
    try:
        return str(json.loads(error or b"")[name])
    except (ValueError, KeyError, TypeError):
        return ""


def _failure(error_type: str, message: str) -> InvokeResponse:
    payload = json.dumps({"errorType": error_type, "errorMessage": message}).encode()
    return InvokeResponse(payload, failed=True, reason=message, runtime_usable=False)
