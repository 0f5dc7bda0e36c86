"""The comparison of in-flight invocations with Airflow's database, on a separate thread.

A result can be lost for good: its message expired while no scheduler ran, somebody purged a
queue, or a task was cleared while it ran. Nothing else would free its slot.

A single check proves nothing, because a result may be on its way while Airflow already has the
task's final state. So an invocation is obsolete only when Airflow did not wait for it in two
checks in a row, `PERIOD_S` apart.

Airflow may also wait for an invocation that no scheduler holds: it offers the tasks of a dead
scheduler for adoption, but not its callbacks. Callbacks are offered for adoption here.

Airflow itself ends a task from which nothing is heard: one that stays queued by
`[scheduler] task_queued_timeout`, one that is running by its heartbeat. Nothing ends a callback, so
one without a result is reported as lost here. Its result may have been purged, or Lambda never took
it and no answer said so. Of a job its service tells the end (`job_watch.py`).

About messages that no scheduler claims, the database is asked here too (`unclaimed.py`).
"""

from __future__ import annotations

import logging
import math
import threading
from collections import deque
from collections.abc import Callable, Hashable, Iterable, Mapping
from typing import Generic, TypeVar

from lambda_executor.contract.wire import InvocationId
from lambda_executor.engine.poller import HAND_BACK_CAP_S
from lambda_executor.engine.ports import AirflowState
from lambda_executor.engine.unclaimed import Unclaimed

log = logging.getLogger(__name__)

Key = TypeVar("Key", bound=Hashable)

#: Seconds between two checks: a result travels faster, and a lost slot is not lost for long.
PERIOD_S = 60.0

#: Checks after which there is no result in any queue of what no function can run any more: enough
#: for a message that was handed back to become visible, and five more in which to receive it.
CHECKS_FOR_RESULT = math.ceil(HAND_BACK_CAP_S / PERIOD_S) + 5


class Comparison:
    """The rule of two checks in a row."""

    def __init__(self) -> None:
        self._idle_before: set[InvocationId] = set()

    def check(
        self, in_flight: Iterable[InvocationId], waited_for: set[InvocationId]
    ) -> set[InvocationId]:
        """Return the invocations that are obsolete after this check."""
        idle = set(in_flight) - waited_for
        obsolete = idle & self._idle_before
        self._idle_before = idle - obsolete
        return obsolete


class Reconciler(Generic[Key]):
    """A thread that checks once per period.

    Args:
        in_flight: Returns a snapshot of the in-flight invocations; called on this thread.
        knows: Whether an invocation is ours, live or settled; called on this thread.
        airflow: Airflow's database.
        unclaimed: The messages that nobody may ever claim; None: there are none.
        period_s: Seconds between two checks.
    """

    def __init__(
        self,
        in_flight: Callable[[], Mapping[InvocationId, Key]],
        knows: Callable[[InvocationId], bool],
        airflow: AirflowState[Key],
        *,
        unclaimed: Unclaimed | None = None,
        period_s: float = PERIOD_S,
    ) -> None:
        self._in_flight = in_flight
        self._knows = knows
        self._airflow = airflow
        self._unclaimed = Unclaimed() if unclaimed is None else unclaimed
        self._period_s = period_s
        self._comparison = Comparison()
        self._obsolete: deque[InvocationId] = deque()
        self._left_behind: deque[tuple[InvocationId, Key]] = deque()
        self._lost: deque[InvocationId] = deque()
        self._seen: dict[InvocationId, int] = {}
        self._closed = threading.Event()
        self._thread = threading.Thread(target=self._run, name="lambda-reconcile", daemon=True)

    def start(self) -> None:
        """Start the thread."""
        self._thread.start()

    def obsolete(self) -> list[InvocationId]:
        """Return the invocations found obsolete since the last call."""
        return [self._obsolete.popleft() for _ in range(len(self._obsolete))]

    def left_behind(self) -> list[tuple[InvocationId, Key]]:
        """Return the invocations to adopt, found since the last call."""
        return [self._left_behind.popleft() for _ in range(len(self._left_behind))]

    def lost(self) -> list[InvocationId]:
        """Return the invocations found to have no result, since the last call."""
        return [self._lost.popleft() for _ in range(len(self._lost))]

    def close(self, timeout_s: float) -> None:
        """End the thread; a check under way gets `timeout_s` seconds."""
        self._closed.set()
        if self._thread.is_alive():
            self._thread.join(timeout_s)

    def check(self) -> None:
        """Compare once."""
        in_flight = self._in_flight()
        waited_for = self._airflow.waits_for(in_flight) if in_flight else set()
        self._obsolete.extend(sorted(self._comparison.check(in_flight, waited_for)))
        self._check_unended(in_flight)
        self._unclaimed.check(self._airflow.awaited)

    def _check_unended(self, in_flight: Mapping[InvocationId, Key]) -> None:
        """Count the checks of what Airflow never ends, and find what is left behind or lost."""
        unowned = {id: key for id, key in self._airflow.unowned().items() if not self._knows(id)}
        sent = [id for id, key in in_flight.items() if not self._airflow.ends(key)]
        # Counted from this scheduler's first check: `unowned` does not say since when it waits.
        self._seen = {id: self._seen.get(id, 0) + 1 for id in (*unowned, *sent)}
        checks = math.ceil(self._airflow.longest_wait_s() / self._period_s) + 1
        self._left_behind.extend((id, unowned[id]) for id in unowned if self._seen[id] == checks)
        self._lost.extend(id for id in sent if self._seen[id] == checks + CHECKS_FOR_RESULT)

    def _run(self) -> None:
        while not self._closed.wait(self._period_s):
            try:
                self.check()
            except Exception:
                # The database may be down for a while; that makes nothing obsolete.
                log.exception("Could not compare in-flight invocations with Airflow's state")
