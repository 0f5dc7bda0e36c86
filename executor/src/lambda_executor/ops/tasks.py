"""Reads this executor's tasks and failures from Airflow's database, for people who look at them."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING

from airflow.models.dag import DagModel
from airflow.models.log import Log
from airflow.models.taskinstance import TaskInstance
from airflow.utils.session import create_session
from airflow.utils.state import TaskInstanceState
from sqlalchemy import func, or_, select
from sqlalchemy.exc import SQLAlchemyError

from lambda_executor.contract.errors import DatabaseError
from lambda_executor.contract.help import without_link
from lambda_executor.contract.names import FAILURE_EVENT
from lambda_executor.contract.wire import InvocationId
from lambda_executor.ops.dead_letters import Awaited, TaskName
from lambda_executor.setup import naming

if TYPE_CHECKING:
    from sqlalchemy import ColumnElement
    from sqlalchemy.orm import Session

_ACTIVE = (TaskInstanceState.QUEUED, TaskInstanceState.RUNNING, TaskInstanceState.RESTARTING)
_ENDED = (
    TaskInstanceState.SUCCESS,
    TaskInstanceState.FAILED,
    TaskInstanceState.UP_FOR_RETRY,
    TaskInstanceState.SKIPPED,
)
#: Most ids of one query: each is a term of its WHERE clause.
_CHUNK = 200


@dataclass(frozen=True, slots=True)
class Active:
    """The number of this executor's tasks in one state; the oldest was queued at `oldest_at`."""

    state: str
    count: int
    oldest_at: datetime | None


@dataclass(frozen=True, slots=True)
class Failure:
    """A failed task, and the executor's reason."""

    at: datetime | None
    task: TaskName | None
    reason: str


@dataclass(frozen=True, slots=True)
class Ended:
    """The times of a task that has ended; `queued_at` is None if a person cleared it by hand."""

    queue: str
    queued_at: datetime | None
    started_at: datetime
    ended_at: datetime


def active() -> list[Active]:
    """Return the in-flight tasks, by state."""
    query = (
        select(TaskInstance.state, func.count(), func.min(TaskInstance.queued_dttm))
        .where(*_are_in_flight())
        .group_by(TaskInstance.state)
        .order_by(TaskInstance.state)
    )
    with airflow_session() as session:
        return [
            Active(str(state), count, oldest) for state, count, oldest in session.execute(query)
        ]


def active_by_queue() -> dict[str, dict[str, int]]:
    """Return how many tasks are in flight, by their queue and then by state."""
    query = (
        select(TaskInstance.queue, TaskInstance.state, func.count())
        .where(*_are_in_flight())
        .group_by(TaskInstance.queue, TaskInstance.state)
        .order_by(TaskInstance.queue, TaskInstance.state)
    )
    found: dict[str, dict[str, int]] = {}
    with airflow_session() as session:
        for queue, state, count in session.execute(query):
            found.setdefault(str(queue), {})[str(state)] = count
    return found


def scheduled() -> int:
    """Return how many tasks wait in Airflow: for a place, a pool, or another limit of Airflow."""
    query = (
        select(func.count())
        .select_from(TaskInstance)
        .where(TaskInstance.state == TaskInstanceState.SCHEDULED, _is_ours())
    )
    with airflow_session() as session:
        return session.scalar(query) or 0


def ended(since: datetime, limit: int) -> list[Ended]:
    """Return the times of tasks that ended since then, at most `limit`, those made last first."""
    query = (
        select(
            TaskInstance.queue,
            TaskInstance.queued_dttm,
            TaskInstance.start_date,
            TaskInstance.end_date,
        )
        .where(
            TaskInstance.end_date >= since,
            TaskInstance.start_date.is_not(None),
            TaskInstance.external_executor_id.is_not(None),
            TaskInstance.state.in_(_ENDED),
            _is_ours(),
        )
        .order_by(TaskInstance.id.desc())
        .limit(limit)
    )
    with airflow_session() as session:
        return [
            Ended(str(row.queue), row.queued_dttm, row.start_date, row.end_date)
            for row in session.execute(query)
        ]


def failures(limit: int, dag_ids: Collection[str] | None = None) -> list[Failure]:
    """Return the latest failures, newest first; with `dag_ids` only those of these DAGs."""
    query = select(Log).where(Log.event == FAILURE_EVENT).order_by(Log.dttm.desc()).limit(limit)
    if dag_ids is not None:
        query = query.where(Log.dag_id.in_(dag_ids))
    with airflow_session() as session:
        rows = session.scalars(query)
        return [Failure(row.dttm, _task_of(row), without_link(row.extra or "")) for row in rows]


def dag_ids() -> set[str]:
    """Return the ids of all DAGs."""
    with airflow_session() as session:
        return set(session.scalars(select(DagModel.dag_id)))


def awaited(ids: Collection[InvocationId]) -> dict[InvocationId, Awaited]:
    """Return the in-flight tasks among those with the dispatch ids."""
    found = {}
    rest = list(ids)
    with airflow_session() as session:
        for first in range(0, len(rest), _CHUNK):
            query = select(
                TaskInstance.external_executor_id,
                TaskInstance.dag_id,
                TaskInstance.run_id,
                TaskInstance.task_id,
                TaskInstance.map_index,
                TaskInstance.try_number,
                TaskInstance.state,
                TaskInstance.queue,
            ).where(
                TaskInstance.state.in_(_ACTIVE),
                TaskInstance.external_executor_id.in_(rest[first : first + _CHUNK]),
            )
            for row in session.execute(query):
                name = TaskName(row.dag_id, row.run_id, row.task_id, row.map_index, row.try_number)
                id = InvocationId(row.external_executor_id)
                found[id] = Awaited(name, str(row.state), row.queue)
    return found


@contextmanager
def airflow_session() -> Iterator[Session]:
    """Open a session of Airflow's database.

    Raises:
        DatabaseError: The database cannot be read.
    """
    try:
        with create_session() as session:
            yield session
    except SQLAlchemyError as e:
        first = str(e).partition("\n")[0]
        raise DatabaseError(
            f"Airflow's database cannot be read ({first}): run this where the scheduler runs, with "
            "the same [database] sql_alchemy_conn"
        ) from e


def _are_in_flight() -> tuple[ColumnElement[bool], ...]:
    """This executor's tasks that are sent and have not ended."""
    sent = TaskInstance.external_executor_id.is_not(None)
    return TaskInstance.state.in_(_ACTIVE), sent, _is_ours()


def _is_ours() -> ColumnElement[bool]:
    """Tasks that name this executor, or none if it is the default one."""
    names = naming.ours()
    named = TaskInstance.executor.in_(names - {None})
    return or_(named, TaskInstance.executor.is_(None)) if None in names else named


def _task_of(row: Log) -> TaskName | None:
    if row.dag_id is None or row.task_id is None:
        return None
    map_index = -1 if row.map_index is None else row.map_index
    return TaskName(row.dag_id, row.run_id or "", row.task_id, map_index, row.try_number or 0)
