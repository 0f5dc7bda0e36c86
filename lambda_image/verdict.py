"""What the end of a workload means for its invocation, as values."""

from __future__ import annotations

import signal
from dataclasses import dataclass, replace

from lambda_executor.contract.wire import Outcome
from lambda_image import host

#: What tells whether memory ran out, if the kernel does not.
_MEMORY_CAUSES: dict[host.Name, str] = {
    "function": (
        "compare the function's memory size with the maximum in the invocation's REPORT line"
    ),
    "job": "compare the job's memory with max_memory_mb in the last line about it in its log",
    "MicroVM": "compare its peak memory, four times the target's, with max_memory_mb in its log",
}
_SIGNAL_CAUSES = {
    signal.SIGKILL: f"maybe it ran out of memory: {_MEMORY_CAUSES[host.name()]}",
    signal.SIGTERM: "Airflow stopped it because its state was changed, or something else did",
    signal.SIGSEGV: "a native library that it uses crashed",
}


@dataclass(frozen=True, slots=True)
class Verdict:
    """The end of one workload, in the fields of `wire.Result`.

    Attributes:
        environment_is_unusable: Whether the next workload would end likewise in this execution
            environment, and not in another one.
    """

    outcome: Outcome
    return_code: int
    reason: str = ""
    max_memory_mb: float | None = None
    task_state: str | None = None  # The state that this start gave the task in Airflow.
    is_logged: bool = True  # Whether the task's log is uploaded, with the reason if there is one.
    environment_is_unusable: bool = False

    def adding(self, reason: str) -> Verdict:
        """This verdict with a further reason."""
        return replace(self, reason=f"{self.reason}. {reason}" if self.reason else reason)

    def without(self, secret: str) -> Verdict:
        """This verdict with a secret cut out of the reason."""
        if not secret or secret not in self.reason:
            return self
        return replace(self, reason=self.reason.replace(secret, "***"))


def ended(exit_code: int, memory: str = "") -> Verdict:
    """The workload's process ended, by a signal if the exit code is negative."""
    if exit_code == -signal.SIGKILL and memory:
        reason = f"the workload's process was killed by the kernel: {memory}"
        return Verdict(Outcome.CRASHED, exit_code, reason)
    if exit_code < 0:
        return Verdict(Outcome.CRASHED, exit_code, _signal_reason(-exit_code))
    if exit_code > 0:
        return Verdict(
            Outcome.COMPLETED,
            exit_code,
            f"the workload's process ended with exit code {exit_code}: its log has the cause",
        )
    return Verdict(Outcome.COMPLETED, 0)


def out_of_time(exit_code: int, reason: str) -> Verdict:
    """The handler ended the workload before the function's time-out."""
    return Verdict(Outcome.DEADLINE, exit_code, reason)


def crashed(reason: str) -> Verdict:
    """The workload was started, and its end is not known for certain."""
    return Verdict(Outcome.CRASHED, 1, reason)


def rejected(reason: str) -> Verdict:
    """Nothing was started."""
    return Verdict(Outcome.REJECTED, 1, reason, is_logged=False)


def rejected_here(reason: str) -> Verdict:
    """Nothing was started, because of this execution environment: another one could."""
    reason = f"nothing was started: {reason}; the execution environment is given up"
    return replace(rejected(reason), environment_is_unusable=True)


def duplicate(reason: str) -> Verdict:
    """Another start of the same workload is the one that counts."""
    return Verdict(Outcome.DUPLICATE, 0, reason)


def overtaken(reason: str) -> Verdict:
    """Airflow has already set the workload to a final state."""
    return Verdict(Outcome.COMPLETED, 0, reason)


def _signal_reason(number: int) -> str:
    try:
        known = signal.Signals(number)
    except ValueError:
        return f"the workload's process was killed by signal {number}"
    cause = _SIGNAL_CAUSES.get(known)
    return f"the workload's process was killed by {known.name}" + (f": {cause}" if cause else "")
