"""What Airflow's database says about workloads in flight; the `AirflowState` of the reconciler.

Reads only, in sessions of its own: it runs beside the scheduler's thread.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, cast

from airflow.models.taskinstance import TaskInstance
from airflow.models.taskinstancekey import TaskInstanceKey
from airflow.utils.session import create_session
from airflow.utils.state import TaskInstanceState
from sqlalchemy import select

from lambda_executor.wire import InvocationId

if TYPE_CHECKING:
    from airflow.executors.workloads.types import WorkloadKey
    from sqlalchemy import ColumnElement

#: Keys of one query: each is a term of its WHERE clause.
CHUNK = 200

_WAITING = frozenset(
    {TaskInstanceState.QUEUED, TaskInstanceState.RUNNING, TaskInstanceState.RESTARTING}
)


class DatabaseState:
    """Task instances as they are in the database."""

    def waits_for(self, in_flight: Mapping[InvocationId, WorkloadKey]) -> set[InvocationId]:
        """The invocations of tasks that are queued or running in the same try.

        A task that somebody else has dispatched since, under another id, does not wait for ours.
        What is not a task is always waited for: Airflow has no end of it that we could see.
        """
        tasks = {key: id for id, key in in_flight.items() if isinstance(key, TaskInstanceKey)}
        waiting = set(in_flight) - set(tasks.values())
        with create_session() as session:
            for chunk in _chunks(tasks):
                rows = session.execute(
                    select(
                        TaskInstance.dag_id,
                        TaskInstance.task_id,
                        TaskInstance.run_id,
                        TaskInstance.try_number,
                        TaskInstance.map_index,
                        TaskInstance.state,
                        TaskInstance.external_executor_id,
                    ).where(cast("ColumnElement[bool]", TaskInstance.filter_for_tis(chunk)))
                )
                for dag_id, task_id, run_id, try_number, map_index, state, external_id in rows:
                    id = tasks.get(TaskInstanceKey(dag_id, task_id, run_id, try_number, map_index))
                    if id is not None and state in _WAITING and external_id in (None, id):
                        waiting.add(id)
        return waiting


def _chunks(keys: Iterable[TaskInstanceKey]) -> Iterable[list[TaskInstanceKey]]:
    rest = iter(keys)
    while chunk := list(itertools.islice(rest, CHUNK)):
        yield chunk
