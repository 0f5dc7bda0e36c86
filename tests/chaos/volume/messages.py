"""What becomes of messages: none is deleted too early, and none stays that a scheduler knows."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING

from lambda_executor.contract.errors import DecodeError
from lambda_executor.contract.wire import DeadLetter, InvocationId, Result
from lambda_executor.core.reports import is_about_a_start, is_duplicate
from tests.chaos.volume.oracle import Oracle

if TYPE_CHECKING:
    from tests.chaos.volume.scheduler import Scheduler


class Messages:
    """Watches the messages of all queues.

    Args:
        oracle: Records what is broken.
        living: Returns the schedulers that have not been killed.

    Attributes:
        acting: The scheduler that deletes messages now.
    """

    def __init__(self, oracle: Oracle, living: Callable[[], Sequence[Scheduler]]) -> None:
        self._oracle, self._living = oracle, living
        self.acting: Scheduler | None = None
        #: Whose messages may stay: with a scheduler ends its memory of what it has settled, and
        #: nobody deletes the copies that come later.
        self._unknown: set[InvocationId] = set()

    def stored(self, body: str, attributes: Mapping[str, str]) -> None:
        """Note whether nobody knows a message that is new in its queue, or whose scheduler died."""
        report = _read(body, attributes)
        if report and not any(each.engine.ledger.knows(report.id) for each in self._living()):
            self._unknown.add(report.id)

    def before_deleting(self, body: str, attributes: Mapping[str, str]) -> None:
        """Check that a message is deleted only after Airflow has taken what it says."""
        report = _read(body, attributes)
        if report is None or is_duplicate(report) or is_about_a_start(report):
            return  # It is about one start; another message is about the end.
        if self.acting and (why := self.acting.about_to_delete(report.id)):
            self._oracle.broken(why, report)

    def left(self, body: str, attributes: Mapping[str, str]) -> None:
        """Check that nobody knew a message that is still there at the end of its retention."""
        report = _read(body, attributes)
        if (report is None or report.id not in self._unknown) and not self._oracle.is_over:
            self._oracle.broken("left in a queue", report or body)


def _read(body: str, attributes: Mapping[str, str]) -> Result | DeadLetter | None:
    """What a message says; None: it is malformed."""
    is_letter = '"return_code"' not in body
    try:
        return DeadLetter.decode(body, attributes) if is_letter else Result.decode(body)
    except DecodeError:
        return None
