"""Finds slots that nobody will ever free: what is in flight is compared with Airflow's own state.

A result can be lost for good: its message expired while no scheduler ran, somebody purged a
queue, a task was cleared while it ran. It owns the comparison and the thread that makes it; it
must not know AWS, and Airflow only as `AirflowState`.

A single look proves nothing, because a result may be on its way while Airflow already has the
task's final state. So an invocation is obsolete only when Airflow did not wait for it in two
looks in a row, `PERIOD_S` apart.

The other way round, Airflow may wait for something that no scheduler holds: it offers the tasks of
a dead scheduler for adoption, but not its callbacks. These are adopted here, and given up when no
result of theirs lies in any queue either.
"""

from __future__ import annotations

import logging
import math
import threading
from collections import deque
from collections.abc import Callable, Hashable, Iterable, Mapping
from typing import Generic, Protocol, TypeVar

from lambda_executor.contract.wire import InvocationId
from lambda_executor.engine.poller import HAND_BACK_CAP_S

log = logging.getLogger(__name__)

Key = TypeVar("Key", bound=Hashable)

#: Seconds between two looks: long against the way of a result, short against a lost slot.
PERIOD_S = 60.0

#: Looks after which a workload that was left behind has no result in any queue: enough for one that
#: was handed back to be visible again, and five more in which to receive it.
LOOKS_FOR_A_RESULT = math.ceil(HAND_BACK_CAP_S / PERIOD_S) + 5


class AirflowState(Protocol[Key]):
    """What Airflow's database says."""

    def waits_for(self, in_flight: Mapping[InvocationId, Key]) -> set[InvocationId]:
        """Those of the invocations whose workload Airflow still takes to be queued or running.

        Runs on the reconciler's thread, and may take as long as it needs.
        """

    def unowned(self) -> Mapping[InvocationId, Key]:
        """What Airflow waits for and never offers for adoption, whoever sent it."""

    def longest_wait_s(self) -> float:
        """Seconds after which a workload that Airflow waits for is in no function any more."""


class Comparison:
    """Two looks in a row, as a pure rule."""

    def __init__(self) -> None:
        self._idle_before: set[InvocationId] = set()

    def look(
        self, in_flight: Iterable[InvocationId], waited_for: set[InvocationId]
    ) -> set[InvocationId]:
        """The invocations that are obsolete after this look."""
        idle = set(in_flight) - waited_for
        obsolete = idle & self._idle_before
        self._idle_before = idle - obsolete
        return obsolete


class Reconciler(Generic[Key]):
    """A thread that looks again and again.

    Args:
        in_flight: A snapshot of what is in flight; called on the reconciler's thread.
        knows: Whether an invocation is ours, in flight or not; likewise.
        airflow: Airflow's own state.
        period_s: Seconds between two looks.
    """

    def __init__(
        self,
        in_flight: Callable[[], Mapping[InvocationId, Key]],
        knows: Callable[[InvocationId], bool],
        airflow: AirflowState[Key],
        *,
        period_s: float = PERIOD_S,
    ) -> None:
        self._in_flight = in_flight
        self._knows = knows
        self._airflow = airflow
        self._period_s = period_s
        self._comparison = Comparison()
        self._obsolete: deque[InvocationId] = deque()
        self._left_behind: deque[tuple[InvocationId, Key]] = deque()
        self._lost: deque[InvocationId] = deque()
        self._seen: dict[InvocationId, int] = {}
        self._looks_left: dict[InvocationId, int] = {}
        self._closed = threading.Event()
        self._thread = threading.Thread(target=self._run, name="lambda-reconcile", daemon=True)

    def start(self) -> None:
        """Start the thread."""
        self._thread.start()

    def obsolete(self) -> list[InvocationId]:
        """What was found obsolete since the last call."""
        return [self._obsolete.popleft() for _ in range(len(self._obsolete))]

    def left_behind(self) -> list[tuple[InvocationId, Key]]:
        """What is to be adopted, found since the last call."""
        return [self._left_behind.popleft() for _ in range(len(self._left_behind))]

    def adopted(self, id: InvocationId) -> None:
        """Note that one of these was adopted: from now on its result is looked for."""
        self._looks_left[id] = LOOKS_FOR_A_RESULT

    def lost(self) -> list[InvocationId]:
        """What was adopted here and has no result in any queue, found since the last call."""
        return [self._lost.popleft() for _ in range(len(self._lost))]

    def close(self, timeout_s: float) -> None:
        """End the thread; a look that is under way is not waited for longer than that."""
        self._closed.set()
        if self._thread.is_alive():
            self._thread.join(timeout_s)

    def look(self) -> None:
        """Compare once."""
        in_flight = self._in_flight()
        waited_for = self._airflow.waits_for(in_flight) if in_flight else set()
        self._obsolete.extend(sorted(self._comparison.look(in_flight, waited_for)))
        self._look_after_the_left_behind(in_flight)

    def _look_after_the_left_behind(self, in_flight: Mapping[InvocationId, Key]) -> None:
        unowned = {id: key for id, key in self._airflow.unowned().items() if not self._knows(id)}
        # Counted from the first look of this scheduler: only that says how long it has run.
        self._seen = {id: self._seen.get(id, 0) + 1 for id in unowned}
        looks = math.ceil(self._airflow.longest_wait_s() / self._period_s) + 1
        self._left_behind.extend((id, unowned[id]) for id, n in self._seen.items() if n == looks)
        for id, left in list(self._looks_left.items()):
            if id in in_flight and left > 1:
                self._looks_left[id] = left - 1
            else:
                del self._looks_left[id]
                if id in in_flight:
                    self._lost.append(id)

    def _run(self) -> None:
        while not self._closed.wait(self._period_s):
            try:
                self.look()
            except Exception:
                # The database may be away for a while: nothing is obsolete because of that.
                log.exception("Could not compare what is in flight with Airflow's state")
