"""What a report says reaches the user, and only what is about the end settles."""

from __future__ import annotations

import pytest

from lambda_executor.contract.wire import DeadLetter, InvocationId, Outcome, Result
from lambda_executor.core.ledger import Ledger, State
from lambda_executor.core.reports import (
    Meaning,
    Report,
    is_out_of_time,
    kind,
    leaves_state_open,
    meaning,
    settle,
)

A = InvocationId("a")


@pytest.fixture
def ledger() -> Ledger[str]:
    """One invocation in flight."""
    ledger: Ledger[str] = Ledger()
    ledger.adopt(A, "task")
    return ledger


def test_a_success_has_nothing_to_say(ledger: Ledger[str]) -> None:
    """Return code 0 settles, whatever the handler adds."""
    settlement = settle(ledger, Result(A, 0, reason="already done", request_id="r"))
    assert settlement is not None
    assert (settlement.succeeded, settlement.reason) == (True, "")


def test_a_failure_says_why_and_where_to_look(ledger: Ledger[str]) -> None:
    """The handler's reason, its request id and log stream."""
    settlement = settle(ledger, Result(A, 1, Outcome.REJECTED, "no bundle", "r-1", "s-1"))
    assert settlement is not None
    assert settlement.reason == "no bundle (request id r-1, log stream s-1)"


def test_a_failure_without_a_reason_says_its_code(ledger: Ledger[str]) -> None:
    """The reference's handler gives nothing else."""
    settlement = settle(ledger, Result(A, 3))
    assert settlement is not None
    assert settlement.reason == "the handler ended with return code 3"


@pytest.mark.parametrize(
    ("state", "expected"),
    [
        *(
            (name, Meaning.CONTINUED)
            for name in ("awaiting_input", "deferred", "up_for_reschedule")
        ),
        *((name, Meaning.END) for name in ("success", "failed", "skipped", "up_for_retry", "new")),
    ],
)
def test_a_task_that_waits_for_its_next_part_has_not_ended(state: str, expected: Meaning) -> None:
    """The handler reports the state that Airflow gave the task, and Airflow need not be asked."""
    assert meaning(Result(A, 0, task_state=state)) is expected
    assert not leaves_state_open(Result(A, 0, task_state=state))


@pytest.mark.parametrize(
    ("state", "expected"),
    [
        *((name, Meaning.DUPLICATE) for name in ("running", "restarting")),
        *(
            (name, Meaning.CONTINUED)
            for name in ("awaiting_input", "deferred", "up_for_reschedule", "scheduled")
        ),
        *((name, Meaning.END) for name in ("queued", "success", "up_for_retry", None)),
    ],
)
@pytest.mark.parametrize("reason", ["EventAgeExceeded", "Rate Exceeded."])
def test_a_letter_about_a_start_means_what_became_of_the_task(
    state: str | None, expected: Meaning, reason: str
) -> None:
    """While the task runs, another start runs it; otherwise the letter is about the invocation."""
    assert meaning(DeadLetter(A, reason), state) is expected
    about_the_end = DeadLetter(A, "signal: killed")
    expected = Meaning.END if expected is Meaning.DUPLICATE else expected
    assert meaning(about_the_end, state) is expected
    assert meaning(Result(A, 0), state) is expected


@pytest.mark.parametrize(
    ("state", "expected"),
    [
        ("running", Meaning.DUPLICATE),
        ("restarting", Meaning.DUPLICATE),
        ("queued", Meaning.END),
        ("failed", Meaning.END),
        (None, Meaning.END),
    ],
)
def test_a_start_that_was_rejected_is_no_end_of_one_that_runs(
    state: str | None, expected: Meaning
) -> None:
    """Lambda delivered the event twice: one environment is spoilt, and another runs the task."""
    rejected = Result(A, 1, Outcome.REJECTED, "nothing was started: the disk is full")
    assert leaves_state_open(rejected)
    assert meaning(rejected, state) is expected


def test_a_duplicate_settles_nothing(ledger: Ledger[str]) -> None:
    """The invocation stays in flight."""
    assert settle(ledger, Result(A, 0, Outcome.DUPLICATE)) is None
    assert ledger.state(A) is State.IN_FLIGHT


@pytest.mark.parametrize(
    ("reason", "expected"),
    [
        ("2026-11-21T08:00:00.000Z r-1 Task timed out after 900.00 seconds", "timeout"),
        ("RequestId: r-1 Error: Runtime exited with error: signal: killed", "killed"),
        ("RequestId: r-1 Error: Runtime exited with error: exit status 1", "crash"),
        ("EventAgeExceeded", "expired"),
        ("Rate Exceeded.", "no_concurrency"),
        ("something else", "other"),
    ],
)
def test_dead_letters_are_counted_by_kind(reason: str, expected: str) -> None:
    """Lambda's words give one of a few names."""
    assert kind(DeadLetter(A, reason)) == expected


@pytest.mark.parametrize(
    ("report", "expected"),
    [
        (Result(A, 1, Outcome.DEADLINE), True),
        (Result(A, 1, Outcome.DEADLINE, stop_requested=True), False),
        (Result(A, 1, Outcome.CRASHED), False),
        (DeadLetter(A, "2026-11-30T10:00:00.000Z r Task timed out after 900.00 seconds"), True),
        (DeadLetter(A, "RequestId: r Error: Runtime exited with error: signal: killed"), False),
    ],
)
def test_what_ran_out_of_time_is_known_whoever_ended_it(report: Report, *, expected: bool) -> None:
    """The handler before the time-out, or Lambda at it."""
    assert is_out_of_time(report) is expected
