"""Airflow's database, as far as an executor sees it."""

from __future__ import annotations

from collections.abc import Collection, Container, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, NamedTuple
from uuid import UUID

from lambda_executor.contract.wire import InvocationId
from lambda_executor.engine.reconciliation import PERIOD_S

if TYPE_CHECKING:
    from tests.support.world.scheduler import Scheduler

#: Two tasks, and a callback: Airflow never offers those for adoption.
NAMES = ("task-1", "task-2", "callback")
#: Seconds after which a callback is in no function any more: two checks of the reconciler.
LONGEST_WAIT_S = 2 * PERIOD_S

_WAITING = ("queued", "running")
#: The states of a task that continues in the same try.
_CONTINUED = ("deferred", "scheduled")


class Key(NamedTuple):
    """The key of a workload in one try."""

    dag_id: str
    task_id: str
    run_id: str
    try_number: int
    map_index: int = -1


@dataclass(eq=False, slots=True)
class Row:
    """A task or a callback.

    Attributes:
        name: One of `NAMES`.
        key: Its key in the current try.
        id: The invocation that it was queued with.
        state: `scheduled` (again), `queued`, `running`, `deferred`, `success`, `failed` or `none`.
        owner: The scheduler that queued or adopted it.
        queued_at_s: When it was queued.
    """

    name: str
    key: Key
    id: InvocationId = InvocationId("")  # noqa: RUF009 - immutable
    state: str = "none"
    owner: Scheduler | None = field(default=None, repr=False)
    queued_at_s: float = 0.0

    @property
    def is_callback(self) -> bool:
        """Whether the row is a callback."""
        return self.name == "callback"

    @property
    def is_waited_for(self) -> bool:
        """Whether it is queued or running."""
        return self.state in _WAITING


class Airflow:
    """The database; an `AirflowState`.

    Attributes:
        rows: The rows, by name.
        row_of: The row of each invocation, and the row's key at its dispatch.
        callbacks: The invocation of each callback.
        silent: Invocations about which no report will ever come.
        is_away: Whether every query fails.
    """

    def __init__(self) -> None:
        self.rows = {name: Row(name, Key("dag", name, "run", 0)) for name in NAMES}
        self.row_of: dict[InvocationId, tuple[Row, Key]] = {}
        self.callbacks: dict[Key, InvocationId] = {}
        self.silent: set[InvocationId] = set()
        self.is_away = False

    # ---- what happens there ----

    def queue(self, row: Row, owner: Scheduler, now_s: float) -> None:
        """Queue a workload under a fresh id; a deferred task continues in the same try."""
        row.id = InvocationId(str(UUID(int=len(self.row_of))))
        if row.state not in _CONTINUED:
            row.key = row.key._replace(try_number=row.key.try_number + 1)
        row.state, row.owner, row.queued_at_s = "queued", owner, now_s
        self.row_of[row.id] = row, row.key
        if row.is_callback:
            self.callbacks[row.key] = row.id

    def take(self, scheduler: Scheduler, events: Mapping[Key, str]) -> list[Row]:
        """Store a scheduler's events, as `process_executor_events` does.

        A task has already stored its own end, so an event fails one that has not ended, unless
        its scheduler has it queued or running again.

        Returns:
            The tasks that were to continue, and that an event has failed.
        """
        wrong = []
        for row in self.rows.values():
            if (state := events.get(row.key)) is None:
                continue
            if row.is_callback:
                row.state = state if row.is_waited_for else row.state
            elif row.owner is scheduler and (row.is_waited_for or row.state == "scheduled"):
                if scheduler.has_slot(row.key):
                    continue
                wrong += [row] if row.state == "scheduled" else []
                row.state = "failed"
        return wrong

    # ---- what is there ----

    def current(self, id: InvocationId) -> Row | None:
        """The row of an invocation, unless the row is in another try now."""
        row, key = self.row_of[id]
        return row if row.key == key else None

    def idle(self) -> list[Row]:
        """The rows that may be queued."""
        return [row for row in self.rows.values() if not row.is_waited_for]

    def waiting(self) -> list[Row]:
        """The rows that are queued or running."""
        return [row for row in self.rows.values() if row.is_waited_for]

    def deferred(self) -> list[Row]:
        """The tasks that wait for their trigger."""
        return [row for row in self.rows.values() if row.state == "deferred"]

    def stuck(self) -> list[Row]:
        """The queued tasks of a living scheduler."""
        tasks = [row for row in self._tasks() if row.state == "queued"]
        return [row for row in tasks if row.owner and row.owner.is_alive]

    def orphans(self) -> list[Row]:
        """The tasks of schedulers that are gone."""
        return [row for row in self._tasks() if row.owner and not row.owner.is_alive]

    def _tasks(self) -> list[Row]:
        return [row for row in self.waiting() if not row.is_callback]

    # ---- what executors ask ----

    def waits_for(self, in_flight: Mapping[InvocationId, Key]) -> set[InvocationId]:
        """The invocations whose row is queued or running under the same id."""
        return {row.id for row in self._rows_in(_WAITING)} & set(in_flight)

    def awaited(self, ids: Collection[InvocationId]) -> set[InvocationId]:
        """Return those of some invocations whose row is queued or running under the same id."""
        return {row.id for row in self._rows_in(_WAITING)} & set(ids)

    def states(self, invocations: Mapping[InvocationId, Key]) -> dict[InvocationId, str]:
        """The states of tasks that are in the same invocation, or that continue."""
        tasks = {row.key: row for row in self._stored() if not row.is_callback}
        return {
            id: row.state
            for id, key in invocations.items()
            if (row := tasks.get(key)) and (row.id == id or row.state in _CONTINUED)
        }

    def unowned(self) -> dict[InvocationId, Key]:
        """The callbacks that are queued or running."""
        return {row.id: row.key for row in self._rows_in(_WAITING) if row.is_callback}

    def ends(self, key: Key) -> bool:
        """Whether the workload is a task."""
        return key.task_id != "callback"

    def longest_wait_s(self) -> float:
        """The longest time that a callback may be in a function."""
        return LONGEST_WAIT_S

    def _rows_in(self, states: Container[str]) -> list[Row]:
        return [row for row in self._stored() if row.state in states]

    def _stored(self) -> list[Row]:
        if self.is_away:
            raise ConnectionError("the database is away")
        return list(self.rows.values())
