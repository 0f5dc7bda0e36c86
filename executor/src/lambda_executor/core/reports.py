"""The meaning of a report for its invocation: a settlement, or none.

The reasons that reach the user are made here. All functions are pure, except that `settle` changes
the ledger.
"""

from __future__ import annotations

from collections.abc import Hashable
from dataclasses import dataclass
from enum import Enum, auto
from typing import TypeVar

from lambda_executor.contract.wire import DeadLetter, InvocationId, Outcome, Result
from lambda_executor.core.ledger import Ledger, Settlement
from lambda_executor.core.targets import Service

Key = TypeVar("Key", bound=Hashable)

#: Parts of Lambda's reasons, and the kind of dead letter that each identifies, for metrics.
_KINDS = (
    ("timed out", "timeout"),
    ("signal: killed", "killed"),
    ("exited with error", "crash"),
    ("EventAgeExceeded", "expired"),
    ("RetriesExhausted", "retries_exhausted"),
    ("concurrency", "no_concurrency"),
    ("Rate Exceeded.", "no_concurrency"),  # As in a dead letter of a function that is paused.
)

#: The states of a task that continues in another invocation. A task that was dispatched is
#: `scheduled` in the same try only if it continues.
CONTINUED = frozenset({"awaiting_input", "deferred", "up_for_reschedule", "scheduled"})

_RUNNING = frozenset({"running", "restarting"})
_WAITING = _RUNNING | {"queued"}


@dataclass(frozen=True, slots=True)
class JobEnd:
    """The end of a job of which no result came; `reason` is its service's, for the user."""

    id: InvocationId
    reason: str
    service: Service


#: What says that an invocation has ended.
Report = Result | DeadLetter | JobEnd


class Meaning(Enum):
    """What a report means for its invocation."""

    END = auto()  # The invocation ended, and Airflow is notified of that.
    CONTINUED = auto()  # The invocation ended; its task did not, and continues in another one.
    STORED = auto()  # The invocation ended, and Airflow has stored the end of its task.
    DUPLICATE = auto()  # Another start of the invocation runs the workload.


def meaning(
    report: Report, state: str | None = None, *, was_started_twice: bool = False
) -> Meaning:
    """Return what a report means.

    Args:
        report: The report.
        state: The state of the invocation's task in Airflow, if the report leaves it open. None:
            Airflow knows none of this invocation.
        was_started_twice: Whether one of two starts has reported that it does nothing.
    """
    may_be_of_a_start = (
        is_about_a_start(report)
        or _is_rejected(report)
        or (isinstance(report, JobEnd) and was_started_twice)
    )
    if is_duplicate(report) or (may_be_of_a_start and state in _RUNNING):
        return Meaning.DUPLICATE
    if isinstance(report, Result) and report.task_state:
        state = report.task_state
    if state in CONTINUED:
        return Meaning.CONTINUED
    if isinstance(report, JobEnd) and state is not None and state not in _WAITING:
        return Meaning.STORED  # Its result is late. It would be wrong to say that it failed.
    return Meaning.END


def leaves_state_open(report: Report) -> bool:
    """Whether only Airflow knows the state of the task of an invocation that ended.

    Our handler reports the state where it knows it; the reference's handler and AWS never do.
    """
    return not is_duplicate(report) and not (isinstance(report, Result) and report.task_state)


def settle(ledger: Ledger[Key], report: Report) -> Settlement[Key] | None:
    """Settle the invocation that a report names, if it is live and the report is about its end."""
    if isinstance(report, DeadLetter):
        reason = _with_source(f"Lambda gave up: {report.reason}", report.request_id, None)
        return ledger.settle(report.id, succeeded=False, reason=reason)
    if isinstance(report, JobEnd):
        reason = f"the job ended without a result: {report.reason}"
        return ledger.settle(report.id, succeeded=False, reason=reason)
    if is_duplicate(report):
        return None
    return ledger.settle(
        report.id, succeeded=report.return_code == 0, reason=_reason_of_failure(report)
    )


def is_duplicate(report: Report) -> bool:
    """Whether the handler reports that another start of the invocation runs the workload."""
    return isinstance(report, Result) and report.outcome is Outcome.DUPLICATE


def is_out_of_time(report: Report) -> bool:
    """Whether the time-out of its target ended the workload, so that a longer one could help."""
    if isinstance(report, DeadLetter):  # The handler could not end the workload in time.
        return kind(report) == "timeout"
    return (
        isinstance(report, Result)
        and report.outcome is Outcome.DEADLINE
        and not report.stop_requested
    )


def is_about_a_start(report: Report) -> bool:
    """Whether a report may say only that one of several starts did not happen.

    Lambda sometimes delivers an event twice, and the dispatcher repeats an invoke whose answer was
    lost. While one start runs, the event of another may expire.
    """
    return isinstance(report, DeadLetter) and kind(report) in ("expired", "no_concurrency")


def _is_rejected(report: Report) -> bool:
    """Whether a handler has started nothing.

    Of an event that Lambda delivered twice, one execution environment may reject what another one
    runs: its disk is full, or it cannot reach Airflow.
    """
    return isinstance(report, Result) and report.outcome is Outcome.REJECTED


def kind(letter: DeadLetter) -> str:
    """The kind of reason for which Lambda gave up, as a metric's tag."""
    return next((name for part, name in _KINDS if part in letter.reason), "other")


def _reason_of_failure(result: Result) -> str:
    if result.return_code == 0:
        return ""
    reason = result.reason or f"the handler ended with return code {result.return_code}"
    return _with_source(reason, result.request_id, result.log_stream)


def _with_source(reason: str, request_id: str | None, log_stream: str | None) -> str:
    source = {"request id": request_id, "log stream": log_stream}
    known = ", ".join(f"{name} {value}" for name, value in source.items() if value)
    return f"{reason} ({known})" if known else reason
