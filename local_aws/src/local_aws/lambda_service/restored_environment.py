"""One execution environment that is restored from a snapshot."""

from __future__ import annotations

import time
from dataclasses import dataclass

from local_aws.lambda_service.credentials import Credentials
from local_aws.lambda_service.environment_log import EnvironmentLog, Restored
from local_aws.lambda_service.execution_environment import (
    ExecutionEnvironment,
    FailedInit,
    failure_reason,
)
from local_aws.lambda_service.model import FunctionVersion
from local_aws.lambda_service.runtime_api import RuntimeApi
from local_aws.sandbox.sandbox import Sandbox

#: Limit of the init phase and the hooks before the snapshot, if the function's time-out is shorter:
#: https://docs.aws.amazon.com/lambda/latest/dg/snapstart-runtime-hooks.html
_INIT_S = 130.0
_UNAWARE = (
    "the runtime asked for an invocation without waiting for its snapshot (restore/next): use "
    "awslambdaric, as AWS's base images for Python do from 3.12 on"
)


class SnapStartError(Exception):
    """An environment cannot be restored; `code` is Lambda's name of the error."""

    def __init__(self, code: str, reason: str) -> None:
        super().__init__(reason)
        self.code = code


@dataclass(frozen=True, slots=True)
class NotRestorable:
    """Why a runtime did not come to wait for its restore.

    Attributes:
        code: The version's `StateReasonCode`.
        status: Status and error type, as in `INIT_REPORT`.
    """

    code: str
    reason: str
    status: tuple[str, str]

    @classmethod
    def of(cls, function: FunctionVersion, api: RuntimeApi, sandbox: Sandbox) -> NotRestorable:
        """Find it out, before the sandbox is ended."""
        failure = FailedInit(sandbox.running and api.init_error is None, api.init_error)
        if api.wait_until_ready(0):
            return cls("InvalidImage", _UNAWARE, ("error", "Runtime.Unknown"))
        if failure.timed_out:
            limit_s = init_limit_s(function.timeout_s)
            reason = f"the init phase took more than {limit_s:g} seconds"
            return cls("FunctionError.InitTimeout", reason, failure.status)
        reason = f"the init phase failed: {failure_reason(failure.reported, sandbox.exit_status)}"
        return cls("FunctionError.RuntimeInitError", reason, failure.status)


def init_limit_s(timeout_s: float) -> float:
    """Seconds for the init phase and the hooks before the snapshot, by the function's time-out."""
    return max(_INIT_S, timeout_s)


class RestoredEnvironment(ExecutionEnvironment):
    """An execution environment of a snapshot.

    Args:
        limit_s: Seconds for the restore and the hooks after it.
        began_s: When the restore began (`time.monotonic`); None: the runtime has its own init phase
            first, as the machine cannot copy it.
    """

    def __init__(  # noqa: PLR0913 - the parts of an environment
        self,
        function: FunctionVersion,
        sandbox: Sandbox,
        log: EnvironmentLog,
        credentials: Credentials,
        *,
        limit_s: float,
        began_s: float | None,
    ) -> None:
        super().__init__(function, "", sandbox, log, credentials)
        self._limit_s = limit_s
        self._began_s = began_s

    def initialize(self, limit_s: float) -> None:  # noqa: ARG002 - an init phase has another here
        """Restore the runtime.

        Raises:
            SnapStartError: The restore failed, and the environment has ended.
        """
        api = self._launch()
        if self._began_s is None:
            self._initialize_first(api)
        launched_s = time.monotonic()
        began_s = self._began_s or launched_s
        api.restore()
        ready = api.wait_until_ready(self._limit_s - (launched_s - began_s))
        now_s = time.monotonic()
        restored = Restored((now_s - began_s) * 1000, (now_s - launched_s) * 1000)
        if ready:
            self._log.restore_report(restored.duration_ms, None)
            self._init_passed, self._restored = True, restored
            return
        reported = api.restore_error
        timed_out = self._sandbox.running and reported is None
        self._sandbox.stop()
        self._log.restore_report(
            restored.duration_ms,
            ("timeout", "") if timed_out else ("error", "Runtime.ExitError"),
        )
        self.end()
        if timed_out:
            raise SnapStartError(
                "SnapStartTimeoutException",
                "Lambda couldn't restore the snapshot within the timeout limit: the hooks after "
                f"the restore took more than {self._limit_s:g} seconds.",
            )
        raise SnapStartError(
            "SnapStartException",
            "The after-restore runtime hook encountered an error: "
            f"{failure_reason(reported, self._sandbox.exit_status)}",
        )

    def _initialize_first(self, api: RuntimeApi) -> None:
        if not api.wait_until_restorable(init_limit_s(self.function.timeout_s)):
            failure = NotRestorable.of(self.function, api, self._sandbox)
            self.end()
            raise SnapStartError(
                "SnapStartNotReadyException",
                f"Lambda could not initialize your function: {failure.reason}",
            )
