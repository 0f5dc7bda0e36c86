"""The state of workloads in Airflow's database, for the engine and its reconciler.

Every question opens its own session, because the reconciler asks from a thread of its own.
"""

from __future__ import annotations

import logging
from collections.abc import Collection, Iterable, Mapping
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any, cast
from uuid import UUID

from airflow.configuration import conf
from airflow.models.dag import DagModel
from airflow.models.taskinstance import TaskInstance
from airflow.models.taskinstancekey import TaskInstanceKey
from airflow.utils.session import create_session
from airflow.utils.state import TaskInstanceState
from airflow.version import version
from sqlalchemy import select, update

from lambda_executor.contract.lambda_limits import LONGEST_TIMEOUT_S
from lambda_executor.contract.wire import InvocationId
from lambda_executor.core.reports import CONTINUED
from lambda_executor.scheduler.keys import in_chunks, is_task, rows_of, task_key
from lambda_executor.scheduler.version import AIRFLOW
from lambda_executor.setup import naming
from lambda_executor.setup.time_limits import token_lifetime

if TYPE_CHECKING:
    from airflow.executors.executor_utils import ExecutorName
    from airflow.executors.workloads.types import WorkloadKey
    from sqlalchemy.orm import Session

if AIRFLOW >= (3, 3):
    from airflow.models.callback import CallbackKey, ExecutorCallback
    from airflow.models.connection_test import DISPATCHED_STATES, ConnectionTestRequest
    from airflow.utils.state import CallbackState

    _WAITING_CALLBACKS = (CallbackState.QUEUED, CallbackState.RUNNING)

#: After this time the database has the dispatch id of a task that was queued. Before Airflow 3.3
#: the scheduler stores it with an event in the same loop, unless the row is locked.
ID_STORED = timedelta(minutes=1)

#: Lambda's longest time-out, and a minute for the result.
LONGEST_RUN_S = LONGEST_TIMEOUT_S + 60

_WAITING = frozenset(
    {TaskInstanceState.QUEUED, TaskInstanceState.RUNNING, TaskInstanceState.RESTARTING}
)


log = logging.getLogger(__name__)


class DatabaseState:
    """Task instances and callbacks as the database holds them.

    Args:
        executor: The name of the executor that asks. Without one it has no callbacks to look after.
    """

    def __init__(self, executor: ExecutorName | None = None) -> None:
        self._executor = executor

    def waits_for(self, in_flight: Mapping[InvocationId, WorkloadKey]) -> set[InvocationId]:
        """Return the invocations of tasks, in the same try, and callbacks that have not ended.

        A task that was dispatched again under another id does not wait for ours. The database does
        not show the end of other workloads, so they are always waited for.
        """
        tasks = {key: id for id, key in in_flight.items() if is_task(key)}
        callbacks = {str(key): id for id, key in in_flight.items() if is_callback(key)}
        waiting = set(in_flight) - set(tasks.values()) - set(callbacks.values())
        with create_session() as session:
            waiting |= {id for id, state in _states(session, tasks).items() if state in _WAITING}
            for names in in_chunks(callbacks):
                waiting |= {callbacks[name] for name in _waiting_callbacks(session, names)}
        return waiting

    def awaited(self, ids: Collection[InvocationId]) -> set[InvocationId]:
        """Return those of some invocations, of any scheduler, for whose end Airflow waits.

        All of them, while it waits for a workload whose id the database does not have: a connection
        test, or a task for which the scheduler could not store it. The ids are not sent to the
        database, which refuses some texts.
        """
        with create_session() as session:
            if _waits_for_unnamed(session):
                return set(ids)
            awaited = set(
                session.scalars(
                    select(TaskInstance.external_executor_id).where(
                        TaskInstance.state.in_(_WAITING)
                    )
                )
            )
            if AIRFLOW >= (3, 3):
                callbacks = select(ExecutorCallback.id).where(
                    ExecutorCallback.state.in_(_WAITING_CALLBACKS)
                )
                awaited |= {str(id) for id in session.scalars(callbacks)}
        return {id for id in ids if id in awaited}

    def unowned(self) -> dict[InvocationId, WorkloadKey]:
        """Return this executor's callbacks that are queued or running, by their dispatch ids.

        Airflow records no owner of a callback, and never offers a dead scheduler's for adoption.
        Those of other executors and teams are left to them.
        """
        executor = self._executor
        if AIRFLOW < (3, 3) or executor is None:
            return {}
        with create_session() as session:
            callbacks = session.scalars(
                select(ExecutorCallback).where(ExecutorCallback.state.in_(_WAITING_CALLBACKS))
            ).all()
            dags = {callback.id: callback.get_dag_id() or "" for callback in callbacks}
            teams = _teams(session, set(dags.values()))
            return {
                InvocationId(str(callback.id)): CallbackKey(id=str(callback.id))
                for callback in callbacks
                if naming.gets(executor, callback.get_executor_name(), teams.get(dags[callback.id]))
            }

    def ends(self, key: WorkloadKey) -> bool:
        """Whether Airflow itself ends a workload from which nothing is heard: tasks alone."""
        return is_task(key)

    def longest_wait_s(self) -> float:
        """Return the longest time from a dispatch to its end: token's life plus time-out.

        That of a function: a callback has no queue, so it never runs as a job.
        """
        return token_lifetime(conf, version).seconds + LONGEST_RUN_S

    def states(self, workloads: Mapping[InvocationId, WorkloadKey]) -> dict[InvocationId, str]:
        """Return the states of the tasks among some invocations, by a query for each chunk of them.

        A task has no state for an invocation if it is in another try, or in another invocation,
        unless it continues: before Airflow 3.2 the id of a continued task may be an earlier one's.
        """
        tasks = {key: id for id, key in workloads.items() if is_task(key)}
        if not tasks:
            return {}
        with create_session() as session:
            return _states(session, tasks)

    def give_back(self, unsent: Mapping[WorkloadKey, str | None], job_id: object) -> int:
        """Make tasks that were not sent *scheduled* again, so that any scheduler queues them.

        It is what Airflow does with a task that was queued for too long: the same try goes on. A
        task stays as it is if another scheduler has adopted it, or it is not queued any more. What
        cannot be stored is logged.

        Args:
            unsent: The workloads and their dispatch ids, if they have one; those that are no tasks
                stay.
            job_id: The scheduler that has queued them.

        Returns:
            How many tasks were given back.
        """
        given_back = 0
        for chunk in in_chunks(filter(is_task, unsent)):
            give_back = (
                update(TaskInstance)
                .where(rows_of(chunk))
                # Before Airflow 3.2 an id comes into the database with an event.
                .where(
                    TaskInstance.external_executor_id.in_([unsent[key] for key in chunk])
                    | TaskInstance.external_executor_id.is_(None)
                )
                .where(TaskInstance.state == TaskInstanceState.QUEUED)
                .where(TaskInstance.queued_by_job_id == job_id)
                .values(
                    state=TaskInstanceState.SCHEDULED,
                    scheduled_dttm=datetime.now(tz=UTC),
                    queued_dttm=None,
                    queued_by_job_id=None,
                    external_executor_id=None,
                )
                .execution_options(synchronize_session=False)
            )
            # Each chunk is committed: with some thousand tasks, the process may end meanwhile.
            try:
                with create_session() as session:
                    given_back += cast("Any", session.execute(give_back)).rowcount
            except Exception:
                log.exception(
                    "Could not give %d unsent tasks back to Airflow: another scheduler adopts "
                    "them, and Airflow queues them again after [scheduler] task_queued_timeout",
                    len(chunk),
                )
        return given_back


def is_callback(key: WorkloadKey) -> bool:
    """Whether a workload's key is that of a callback; before 3.3 callbacks have no key type."""
    return AIRFLOW >= (3, 3) and isinstance(key, CallbackKey)


def _states(session: Session, tasks: Mapping[WorkloadKey, InvocationId]) -> dict[InvocationId, str]:
    states = {}
    for chunk in in_chunks(tasks):
        rows = session.execute(
            select(
                TaskInstance.id,
                TaskInstance.dag_id,
                TaskInstance.task_id,
                TaskInstance.run_id,
                TaskInstance.try_number,
                TaskInstance.map_index,
                TaskInstance.state,
                TaskInstance.external_executor_id,
            ).where(rows_of(chunk))
        )
        for ti_id, dag_id, task_id, run_id, try_number, map_index, state, external_id in rows:
            names = TaskInstanceKey(dag_id, task_id, run_id, try_number, map_index)
            id = tasks.get(task_key(ti_id, names))
            if id and state and (external_id in (None, id) or state in CONTINUED):
                states[id] = state
    return states


def _waits_for_unnamed(session: Session) -> bool:
    """Whether Airflow waits for a workload of ours whose dispatch id the database does not have."""
    if AIRFLOW >= (3, 3) and session.scalar(
        select(ConnectionTestRequest.id)
        .where(ConnectionTestRequest.state.in_(DISPATCHED_STATES))
        .limit(1)
    ):
        return True
    executors = session.scalars(
        select(TaskInstance.executor)
        .where(TaskInstance.state.in_(_WAITING))
        .where(TaskInstance.external_executor_id.is_(None))
        .where(TaskInstance.queued_dttm < datetime.now(tz=UTC) - ID_STORED)
    )
    return not naming.ours().isdisjoint(executors)


def _teams(session: Session, dag_ids: set[str]) -> dict[str, str | None]:
    """The teams of DAGs; empty unless Airflow has teams."""
    if not conf.getboolean("core", "multi_team", fallback=False):
        return {}
    return DagModel.get_dag_id_to_team_name_mapping(sorted(dag_ids), session=session)


def _waiting_callbacks(session: Session, names: Iterable[str]) -> set[str]:
    ids = session.scalars(
        select(ExecutorCallback.id)
        .where(ExecutorCallback.id.in_([UUID(name) for name in names]))
        .where(ExecutorCallback.state.in_(_WAITING_CALLBACKS))
    )
    return {str(id) for id in ids}
