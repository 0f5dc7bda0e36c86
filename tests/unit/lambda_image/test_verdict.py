"""What the end of a workload's process means."""

from __future__ import annotations

import signal

import pytest

from lambda_executor.contract.wire import Outcome
from lambda_image import verdict


@pytest.mark.parametrize(
    ("exit_code", "outcome", "says"),
    [
        (0, Outcome.COMPLETED, ""),
        (1, Outcome.COMPLETED, "exit code 1"),
        (126, Outcome.COMPLETED, "exit code 126"),
        (-signal.SIGKILL, Outcome.CRASHED, "SIGKILL: maybe it ran out of memory"),
        (-signal.SIGTERM, Outcome.CRASHED, "SIGTERM: Airflow stopped it"),
        (-signal.SIGSEGV, Outcome.CRASHED, "SIGSEGV: a native library"),
        (-signal.SIGUSR1, Outcome.CRASHED, "SIGUSR1"),
        (-100, Outcome.CRASHED, "signal 100"),
    ],
)
def test_an_exit_code_gives_outcome_and_cause(exit_code: int, outcome: Outcome, says: str) -> None:
    """A signal is a crash with its cause; any other end is a completed run."""
    end = verdict.ended(exit_code)
    assert (end.outcome, end.return_code) == (outcome, exit_code)
    assert says in end.reason
    assert bool(end.reason) == (exit_code != 0)


def test_what_the_kernel_killed_for_memory_is_told_as_that() -> None:
    """If the kernel counted an out-of-memory kill, the reason is certain."""
    end = verdict.ended(-signal.SIGKILL, "it needed more than the function's memory of 512 MB")
    assert end.outcome is Outcome.CRASHED
    assert end.reason.endswith(
        "killed by the kernel: it needed more than the function's memory of 512 MB"
    )
