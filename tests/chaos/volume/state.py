"""What executors ask of Airflow's database with many tasks."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping

from lambda_executor.contract.lambda_limits import LONGEST_TIMEOUT_S
from lambda_executor.contract.wire import InvocationId
from lambda_executor.core.reports import CONTINUED
from tests.chaos.volume.rows import Flight, Row
from tests.support.world.airflow import Key

#: `[scheduler] task_queued_timeout`, which is also how long a token lives, in seconds.
QUEUED_TIMEOUT_S = 600.0


class State:
    """The workloads, as executors see them; an `AirflowState`.

    Attributes:
        is_away: Whether every query fails.
    """

    def __init__(self) -> None:
        self.is_away: Callable[[], bool] = lambda: False
        self._rows: dict[str, Row] = {}
        self._callbacks: dict[str, Row] = {}

    def waits_for(self, in_flight: Mapping[InvocationId, Key]) -> set[InvocationId]:
        """The invocations whose workload is queued or running under the same id."""
        self._ask()
        return {
            id
            for id, key in in_flight.items()
            if (row := self._rows.get(key.task_id)) and row.is_waited_for and _id(row) == id
        }

    def awaited(self, ids: Collection[InvocationId]) -> set[InvocationId]:
        """Return those of some invocations whose workload is queued or running."""
        self._ask()
        waiting = {_id(row) for row in self._rows.values() if row.is_waited_for}
        return {id for id in ids if id in waiting}

    def states(self, invocations: Mapping[InvocationId, Key]) -> dict[InvocationId, str]:
        """The states of tasks that are in the same invocation, or that continue."""
        self._ask()
        return {
            id: row.state
            for id, key in invocations.items()
            if (row := self._rows.get(key.task_id))
            and row.key == key
            and not row.is_callback
            and (_id(row) == id or row.state in CONTINUED)
        }

    def unowned(self) -> dict[InvocationId, Key]:
        """The callbacks that are queued or running."""
        self._ask()
        rows = [row for row in self._callbacks.values() if row.is_waited_for]
        return {row.flight.id: row.key for row in rows if row.flight}

    def flight_of(self, key: Key) -> Flight | None:
        """The current dispatch of a callback."""
        row = self._callbacks.get(key.task_id)
        return row.flight if row else None

    def ends(self, key: Key) -> bool:
        """Whether the workload is a task."""
        return key.dag_id != "callbacks"

    def longest_wait_s(self) -> float:
        """The longest time that a callback may be in a function, as the executor reckons it."""
        return QUEUED_TIMEOUT_S + LONGEST_TIMEOUT_S + 60

    def _ask(self) -> None:
        if self.is_away():
            raise ConnectionError("the database is away")


def _id(row: Row) -> InvocationId | None:
    return row.flight.id if row.flight else None
