"""What a report from the queues means for the invocation it names: pure.

A result or a dead letter goes in, a settlement comes out, or none when it settles nothing. It
owns the words that reach the user; it must not know Airflow, AWS or threads.
"""

from __future__ import annotations

from collections.abc import Hashable
from typing import TypeVar

from lambda_executor.contract.wire import DeadLetter, Outcome, Result
from lambda_executor.core.ledger import Ledger, Settlement

Key = TypeVar("Key", bound=Hashable)

#: Kinds of dead letters for metrics, by words of Lambda's own that tell them apart.
_KINDS = (
    ("timed out", "timeout"),
    ("signal: killed", "killed"),
    ("exited with error", "crash"),
    ("EventAgeExceeded", "expired"),
    ("RetriesExhausted", "retries_exhausted"),
    ("concurrency", "no_concurrency"),
)


def settle(ledger: Ledger[Key], report: Result | DeadLetter) -> Settlement[Key] | None:
    """Settle the invocation that a report names, if it is live and the report is about its end."""
    if isinstance(report, DeadLetter):
        reason = _with_source(f"Lambda gave up: {report.reason}", report.request_id, None)
        return ledger.settle(report.id, succeeded=False, reason=reason)
    if is_duplicate(report):
        return None
    return ledger.settle(
        report.id, succeeded=report.return_code == 0, reason=_reason_of_failure(report)
    )


def is_duplicate(report: Result | DeadLetter) -> bool:
    """Whether the handler says that another start of the invocation is the one that counts."""
    return isinstance(report, Result) and report.outcome is Outcome.DUPLICATE


def is_about_a_start(report: Result | DeadLetter) -> bool:
    """Whether a report says only that one start of the invocation did not come about.

    Lambda delivers an event more than once at times, and the dispatcher sends one again whose
    answer was lost: while one start runs, the event of another may grow too old.
    """
    return isinstance(report, DeadLetter) and kind(report) in ("expired", "no_concurrency")


def kind(letter: DeadLetter) -> str:
    """One of a few words for why Lambda gave up, fit for the name of a metric."""
    return next((name for words, name in _KINDS if words in letter.reason), "other")


def _reason_of_failure(result: Result) -> str:
    if result.return_code == 0:
        return ""
    said = result.reason or f"the handler ended with return code {result.return_code}"
    return _with_source(said, result.request_id, result.log_stream)


def _with_source(reason: str, request_id: str | None, log_stream: str | None) -> str:
    source = {"request id": request_id, "log stream": log_stream}
    known = ", ".join(f"{name} {value}" for name, value in source.items() if value)
    return f"{reason} ({known})" if known else reason
