"""The workloads of a simulation, and their dispatches, with what really becomes of them."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from lambda_executor.contract.wire import InvocationId
from tests.support.world.airflow import Key

if TYPE_CHECKING:
    from tests.chaos.volume.scheduler import Scheduler

RETRIES = 2

_WAITING = ("queued", "running")


@dataclass(eq=False, slots=True, weakref_slot=True)
class Flight:
    """One dispatch of a workload, with what really becomes of it.

    Attributes:
        id: The dispatch id.
        row: Its workload.
        key: The workload's key at the dispatch.
        copies: The copies of its event that wait or run.
        is_answered: Whether its sender knows that it was taken.
        was_taken: Whether AWS took a send of it and said so; the answer may be under way.
        has_run: Whether a run of it has ended with return code 0.
        was_copied: Whether it was started more than once.
        was_attempted: Whether Airflow could not be notified of its end at first.
        reasons: Texts of which one must be in the reason of its failure.
        met: The faults that this dispatch has met; its row has those of all dispatches.
    """

    id: InvocationId
    row: Row
    key: Key
    copies: int = 0
    is_answered: bool = False
    was_taken: bool = False
    has_run: bool = False
    was_copied: bool = False
    was_attempted: bool = False
    reasons: list[str] = field(default_factory=list)
    met: frozenset[str] = frozenset()

    def may_fail(self, reason: str) -> None:
        """Record that a fault may fail this try, and what the reason must say."""
        self.reasons.append(reason)
        if self.row.key == self.key:
            self.row.is_harmed = True

    def is_silent(self) -> None:
        """Record that no report may come: nothing but a check of the reconciler ends a callback."""
        if self.row.is_callback:
            self.may_fail("no result came")

    def __str__(self) -> str:
        return f"{self.key.task_id} try {self.key.try_number} ({self.id}) of {self.row}"


@dataclass(eq=False, slots=True)
class Row:
    """A task or a callback.

    Attributes:
        key: Its key in the current try.
        queue: Its queue.
        priority: Its `priority_weight`.
        state: As Airflow has it.
        flight: Its current dispatch.
        owner: The scheduler that queued or adopted it.
        runner: The dispatch that really runs it now.
        part: The part of the try: a task that continues has several.
        started: The last part of which the code has started.
        tries_left: The retries that are left.
        requeues: How often it was queued again because it stayed queued.
        is_harmed: Whether a fault may have failed this try.
        was_marked: Whether a person has ended it.
        met: The faults that it has met, each time that it met one.
        queued_at_s: When it was queued.
        ended_at_s: When it ended.
    """

    key: Key
    queue: str
    priority: float
    state: str = "scheduled"
    flight: Flight | None = None
    owner: Scheduler | None = None
    runner: Flight | None = None
    part: int = 1
    started: int = 0
    tries_left: int = RETRIES
    requeues: int = 0
    is_harmed: bool = False
    was_marked: bool = False
    met: tuple[str, ...] = ()
    queued_at_s: float = 0.0
    ended_at_s: float = 0.0

    @property
    def is_callback(self) -> bool:
        """Whether it is a callback."""
        return self.key.dag_id == "callbacks"

    @property
    def is_waited_for(self) -> bool:
        """Whether it is queued or running."""
        return self.state in _WAITING

    def is_in(self, flight: Flight) -> bool:
        """Whether this is its current dispatch, and Airflow waits for its end."""
        return self.flight is flight and self.key == flight.key and self.is_waited_for

    def __str__(self) -> str:
        return f"{self.queue} {self.state} part {self.part}"
