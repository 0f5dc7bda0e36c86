"""Passes workloads from Airflow's executor to the engine, and settlements from there to Airflow.

Everything here runs on the scheduler's thread.
"""

from __future__ import annotations

import logging
import math
import time
from collections.abc import Callable, Collection, Mapping, Sequence
from typing import TYPE_CHECKING

from lambda_executor.contract.help import with_link
from lambda_executor.contract.log_lines import about
from lambda_executor.contract.names import FAILURE_EVENT, ROUTING_EVENT
from lambda_executor.contract.routing_reason import routed
from lambda_executor.contract.wire import InvocationId
from lambda_executor.core.ids import Ids
from lambda_executor.core.offers import Offer
from lambda_executor.core.outgoing import Outgoing
from lambda_executor.scheduler import next_target
from lambda_executor.scheduler.compat import (
    AirflowExecutor,
    external_id_of,
    running_state_of,
    task_of,
)
from lambda_executor.scheduler.state import DatabaseState, is_callback

if TYPE_CHECKING:
    from airflow.executors.workloads import ExecutorWorkload
    from airflow.executors.workloads.types import WorkloadKey

log = logging.getLogger(__name__)

_IDS = Ids()

#: Seconds for which Airflow may take to store the end of a try that ran out of time.
LONGEST_END_S = 120.0


class AirflowPort:
    """The scheduler as the engine of its executor sees it; the `Airflow` of `engine/ports.py`."""

    def __init__(
        self,
        executor: AirflowExecutor,
        database: DatabaseState,
        offers: Sequence[Offer] = (),
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._executor = executor
        self._database = database
        self._offers = offers
        self._clock = clock
        self._open: dict[WorkloadKey, float] = {}  # When each is given up.

    def succeed(self, key: WorkloadKey) -> None:
        """Write the event of a success."""
        self._executor.success(key)

    def fail(self, key: WorkloadKey, reason: str) -> None:
        """Write the event of a failure, and an entry in Airflow's audit log for people.

        The entry ends with the address of the documentation's section about the reason.
        """
        self._executor.fail(key, info=reason)
        # The scheduler has been notified above; raising would notify it again.
        _write_event(self._executor, FAILURE_EVENT, key, with_link(reason))

    def has_taken(self, key: WorkloadKey) -> bool:
        """Whether the event of a workload has left the event buffer."""
        return key not in self._executor.event_buffer

    def states(self, invocations: Mapping[InvocationId, WorkloadKey]) -> dict[InvocationId, str]:
        """Return the states of the tasks among some invocations."""
        return self._database.states(invocations)

    def out_of_time(self, keys: Sequence[WorkloadKey]) -> None:
        """Send the next tries of tasks that ran out of time to larger targets, if they ask for it.

        One whose end Airflow has not stored yet is tried again at each call, for `LONGEST_END_S`.
        If the database cannot be written, they stay where they are, and this is logged.
        """
        now_s, before = self._clock(), self._open
        tries = {**dict.fromkeys(keys, now_s + LONGEST_END_S), **before}
        self._open = {}
        if not self._offers or not tries:
            return
        try:
            moves = next_target.move(list(tries), self._offers)
        except Exception:
            log.exception("Could not see to the next targets of %d tasks", len(tries))
            return
        self._open = {key: tries[key] for key in moves.open if now_s < tries[key]}
        for key in set(moves.open).difference(self._open):
            log.warning(
                "%s ran out of time, and its next try stays on its queue: Airflow has not stored "
                "its end for %g s",
                key,
                LONGEST_END_S,
                extra=about(key=key),
            )
        for key, decision in moves.decided:
            log.info("%s: %s", key, decision.reason, extra=about(key=key))
            if decision.queue is None:  # Of one that moves, its own start says it.
                _write_event(self._executor, ROUTING_EVENT, key, decision.reason)

    def hold_slot(self, key: WorkloadKey) -> None:
        """Count a workload as running."""
        self._executor.running.add(key)

    def free_slot(self, key: WorkloadKey) -> None:
        """Stop counting a workload as running."""
        self._executor.running.discard(key)


def take_over(
    executor: AirflowExecutor,
    queues: Collection[dict[WorkloadKey, ExecutorWorkload]],
    workload: ExecutorWorkload,
    knows: Callable[[InvocationId], bool],
    outgoing: Callable[..., Outgoing],
) -> tuple[WorkloadKey, Outgoing]:
    """Take a workload out of its executor's queue; return its key and its `Outgoing`.

    Args:
        executor: The executor that takes it.
        queues: The executor's queues; one of them holds it.
        workload: A task, a callback or a connection test.
        knows: Whether a dispatch id was used before.
        outgoing: Makes the `Outgoing` from the values that differ between workloads.
    """
    key, task = executor.get_workload_key(workload), task_of(workload)
    for queue in queues:
        queue.pop(key, None)
    # A callback is sent once and its id is random, so the id can be its dispatch id, and any
    # scheduler can adopt it.
    given = external_id_of(task) if task else str(key) if is_callback(key) else None
    id = InvocationId(given) if given and not knows(InvocationId(given)) else _IDS.draw()
    if id != given or running_state_of(workload) is not None:
        executor.running_state(key, id)  # Airflow stores the id.
    if task and (reason := routed(task.executor_config)):
        _write_event(executor, ROUTING_EVENT, key, reason)
    return key, outgoing(
        id,
        workload,
        queue=getattr(task or workload, "queue", None),
        executor_config=task.executor_config if task else None,
        queued_at_s=time.time(),
        # Callbacks and connection tests come first, as Airflow has it: they end what has begun, or
        # a person waits.
        priority=task.priority_weight if task else math.inf,
    )


def _write_event(executor: AirflowExecutor, event: str, key: WorkloadKey, text: str) -> None:
    """Write an entry in Airflow's audit log for people; never raises."""
    try:
        executor.log_task_event(event=event, extra=text, ti_key=key)
    except Exception:
        extra = about(key=key)
        log.exception("Could not write to Airflow's audit log: %s: %s", key, text, extra=extra)
