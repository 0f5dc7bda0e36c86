"""What the end of a workload means, as values. Plain Python: nothing of Airflow is known here."""

from __future__ import annotations

import signal
from dataclasses import dataclass, replace

from lambda_executor.contract.wire import Outcome

_SIGNAL_CAUSES = {
    signal.SIGKILL: (
        "maybe it ran out of memory: compare the function's memory size with the maximum in the "
        "invocation's REPORT line"
    ),
    signal.SIGTERM: "Airflow stopped it because its state was changed, or something else did",
    signal.SIGSEGV: "a native library that it uses crashed",
}


@dataclass(frozen=True, slots=True)
class Verdict:
    """The end of one workload.

    Attributes:
        outcome: What became of the invocation.
        return_code: As in `wire.Result`.
        reason: A sentence for the user; empty when there is nothing to say.
        max_memory_mb: As in `wire.Result`.
    """

    outcome: Outcome
    return_code: int
    reason: str = ""
    max_memory_mb: float | None = None

    def adding(self, words: str) -> Verdict:
        """The same, with more in the reason."""
        return replace(self, reason=f"{self.reason}. {words}")

    def without(self, secret: str) -> Verdict:
        """The same, with a secret cut out of the reason."""
        if not secret or secret not in self.reason:
            return self
        return replace(self, reason=self.reason.replace(secret, "***"))


def ended(exit_code: int, memory: str = "") -> Verdict:
    """The task runtime ran and its process ended.

    Args:
        exit_code: Negative for a signal.
        memory: What is known of a lack of memory.
    """
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
    """The handler ended the workload before Lambda would have ended the environment."""
    return Verdict(Outcome.DEADLINE, exit_code, reason)


def crashed(reason: str) -> Verdict:
    """The workload was started, and what happened to it then is not known for certain."""
    return Verdict(Outcome.CRASHED, 1, reason)


def rejected(reason: str) -> Verdict:
    """Nothing was started."""
    return Verdict(Outcome.REJECTED, 1, reason)


def duplicate(reason: str) -> Verdict:
    """Another start of the same workload is the one that counts."""
    return Verdict(Outcome.DUPLICATE, 0, reason)


def overtaken(reason: str) -> Verdict:
    """Airflow has already put the workload into a final state: there is nothing left to do."""
    return Verdict(Outcome.COMPLETED, 0, reason)


def _signal_reason(number: int) -> str:
    try:
        known = signal.Signals(number)
    except ValueError:
        return f"the workload's process was killed by signal {number}"
    cause = _SIGNAL_CAUSES.get(known)
    return f"the workload's process was killed by {known.name}" + (f": {cause}" if cause else "")
