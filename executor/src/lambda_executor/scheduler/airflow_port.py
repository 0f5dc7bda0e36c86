"""Passes workloads from Airflow's executor to the engine, and settlements from there to Airflow.

Everything here runs on the scheduler's thread.
"""

from __future__ import annotations

import logging
import math
import time
from collections.abc import Callable, Collection, Mapping
from typing import TYPE_CHECKING

from lambda_executor.contract.log_lines import about
from lambda_executor.contract.names import FAILURE_EVENT
from lambda_executor.contract.wire import InvocationId
from lambda_executor.core.ids import Ids
from lambda_executor.core.outgoing import Outgoing
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


class AirflowPort:
    """The scheduler as the engine of its executor sees it; the `Airflow` of `engine/ports.py`."""

    def __init__(self, executor: AirflowExecutor, database: DatabaseState) -> None:
        self._executor = executor
        self._database = database

    def succeed(self, key: WorkloadKey) -> None:
        """Write the event of a success."""
        self._executor.success(key)

    def fail(self, key: WorkloadKey, reason: str) -> None:
        """Write the event of a failure, and an entry in Airflow's event log for people."""
        self._executor.fail(key, info=reason)
        try:
            self._executor.log_task_event(event=FAILURE_EVENT, extra=reason, ti_key=key)
        except Exception:
            # The scheduler has been notified above; raising would notify it again.
            extra = about(key=key)
            log.exception("Could not write why %s failed to Airflow's event log", key, extra=extra)

    def has_taken(self, key: WorkloadKey) -> bool:
        """Whether the event of a workload has left the event buffer."""
        return key not in self._executor.event_buffer

    def states(self, invocations: Mapping[InvocationId, WorkloadKey]) -> dict[InvocationId, str]:
        """Return the states of the tasks among some invocations."""
        return self._database.states(invocations)

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
