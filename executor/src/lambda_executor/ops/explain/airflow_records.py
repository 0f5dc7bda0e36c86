"""Reads one task's tries and events, and what keeps it waiting, from Airflow's database."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from airflow.models.dag import DagModel
from airflow.models.dagrun import DagRun
from airflow.models.log import Log
from airflow.models.pool import Pool
from airflow.models.taskinstance import TaskInstance
from airflow.utils.state import TaskInstanceState
from airflow.version import version
from sqlalchemy import func, or_, select

from lambda_executor.contract.errors import UnknownTaskError
from lambda_executor.contract.help import without_link
from lambda_executor.ops import tasks
from lambda_executor.ops.dead_letters import TaskName
from lambda_executor.ops.explain.evidence import Event, Try
from lambda_executor.setup import naming

if TYPE_CHECKING:
    from sqlalchemy import Select
    from sqlalchemy.orm import Session

#: Since Airflow 3.4 the earlier tries are in the table of the newest one, and hidden.
_ONE_TABLE = tuple(map(int, version.split(".")[:2])) >= (3, 4)
if not _ONE_TABLE:
    from airflow.models.taskinstancehistory import TaskInstanceHistory

#: Most events that are read, the newest.
EVENTS = 200
#: Most names that an error lists.
_LISTED = 20
_IN_POOL = (
    TaskInstanceState.QUEUED,
    TaskInstanceState.RUNNING,
    TaskInstanceState.RESTARTING,
)


@dataclass(frozen=True, slots=True)
class Records:
    """What Airflow's database says.

    Attributes:
        task: The try that is asked about.
        earlier: The tries before it, the oldest first.
        events: The audit log about the task, the oldest entry first.
        waits: What keeps it waiting in Airflow, each a part of a sentence.
    """

    task: Try
    earlier: Sequence[Try]
    events: Sequence[Event]
    waits: Sequence[str]


def read(dag_id: str, task_id: str, run_id: str, map_index: int, try_number: int | None) -> Records:
    """Read one try of a task; without a number the newest.

    Raises:
        DatabaseError: The database cannot be read.
        UnknownTaskError: It has no such run, task, map index or try.
    """
    where: dict[str, Any] = {
        "dag_id": dag_id,
        "task_id": task_id,
        "run_id": run_id,
        "map_index": map_index,
    }
    with tasks.airflow_session() as session:
        query = _select(TaskInstance, where).order_by(TaskInstance.id.desc())
        row = session.execute(query).mappings().first()
        if row is None:
            raise UnknownTaskError(_what_there_is(session, **where))
        newest = _try(row)
        tries = {each.name.try_number: each for each in _earlier(session, where)}
        of_newest = newest.name.try_number
        if newest.state is not None or of_newest not in tries:
            tries[of_newest] = newest
        task = newest if try_number is None else tries.get(try_number)
        if task is newest and newest.state == TaskInstanceState.UP_FOR_RETRY:
            task = _ended(newest, tries)
        if task is None:
            known = ", ".join(map(str, sorted(tries)))
            raise UnknownTaskError(f"{newest.name} has no try {try_number}; it has had {known}")
        until = task.name.try_number + (task.state is None)
        return Records(
            task,
            [tries[number] for number in sorted(tries) if number < until],
            _events(session, dag_id, task_id, run_id, map_index),
            _waits(session, task) if task is newest else (),
        )


def _select(model: Any, where: Mapping[str, Any]) -> Select[Any]:  # noqa: ANN401 - two models
    """Select the tries of a task; only its newest one has heartbeats."""
    columns = [
        *(model.dag_id, model.task_id, model.run_id, model.try_number),
        model.map_index.label("map_index"),
        *(model.state, model.external_executor_id, model.queue, model.pool, model.executor),
        *(model.executor_config, model.hostname, model.scheduled_dttm, model.queued_dttm),
        *(model.start_date, model.end_date),
    ]
    if model is TaskInstance:
        columns.append(model.last_heartbeat_at)
    conditions = [getattr(model, name) == value for name, value in where.items()]
    return select(*columns).where(*conditions)


def _earlier(session: Session, where: Mapping[str, Any]) -> list[Try]:
    """Read the tries before the newest one, the oldest first."""
    if _ONE_TABLE:
        query = _select(TaskInstance, where).where(TaskInstance.working_set.is_(None))
        query = query.order_by(TaskInstance.try_number)
        query = query.execution_options(include_all_attempts=True)
    else:
        query = _select(TaskInstanceHistory, where).order_by(TaskInstanceHistory.try_number)
    return list(map(_try, session.execute(query).mappings()))


def _ended(newest: Try, tries: Mapping[int, Try]) -> Try:
    """Return the try that has ended, of a task that will be tried again.

    Since Airflow 3.4 the row of the next try says so; before, that of the ended one does.
    """
    before = tries.get(newest.name.try_number - 1)
    if _ONE_TABLE and before is not None:
        return replace(before, state=newest.state)
    return newest


def _try(row: Mapping[Any, Any]) -> Try:
    names = ("dag_id", "run_id", "task_id", "map_index", "try_number")
    return Try(
        TaskName(*(row[name] for name in names)),
        None if row["state"] is None else str(row["state"]),
        row["external_executor_id"],
        row["queue"],
        row["pool"],
        row["executor"],
        row["executor"] in naming.ours(),
        row["executor_config"],
        row["hostname"],
        row["scheduled_dttm"],
        row["queued_dttm"],
        row["start_date"],
        row["end_date"],
        row.get("last_heartbeat_at"),
    )


def _events(
    session: Session, dag_id: str, task_id: str, run_id: str, map_index: int
) -> list[Event]:
    query = (
        select(Log)
        .where(
            Log.dag_id == dag_id,
            Log.task_id == task_id,
            Log.run_id == run_id,
            or_(Log.map_index.is_(None), Log.map_index == map_index),
        )
        .order_by(Log.dttm.desc(), Log.id.desc())
        .limit(EVENTS)
    )
    found = [
        Event(row.dttm, row.event, without_link(row.extra or ""), row.try_number, row.owner)
        for row in session.scalars(query)
    ]
    return found[::-1]


def _what_there_is(
    session: Session, *, dag_id: str, task_id: str, run_id: str, map_index: int
) -> str:
    """Say which part of a task's name Airflow does not know, and what it knows instead."""
    of_run = TaskInstance.dag_id == dag_id, TaskInstance.run_id == run_id
    indexes = session.scalars(
        select(TaskInstance.map_index)
        .where(*of_run, TaskInstance.task_id == task_id)
        .order_by(TaskInstance.map_index)
    ).all()
    if indexes:
        if list(indexes) == [-1]:
            return f"the task {task_id!r} is not mapped: leave out --map-index"
        return (
            f"the task {task_id!r} has no map index {map_index}: say --map-index with one of "
            f"{indexes[0]} to {indexes[-1]}"
        )
    names = session.scalars(
        select(TaskInstance.task_id).where(*of_run).distinct().order_by(TaskInstance.task_id)
    ).all()
    if names:
        return f"the run {run_id!r} has no task {task_id!r}; it has {_listed(names)}"
    runs = session.scalars(
        select(DagRun.run_id)
        .where(DagRun.dag_id == dag_id)
        .order_by(DagRun.id.desc())
        .limit(_LISTED)
    ).all()
    if run_id in runs:
        return f"the run {run_id!r} of the DAG {dag_id!r} has no tasks yet"
    if runs:
        return f"the DAG {dag_id!r} has no run {run_id!r}; its newest are {_listed(runs)}"
    return f"Airflow's database has no run of a DAG {dag_id!r}"


def _listed(names: Sequence[str]) -> str:
    more = f" and {len(names) - _LISTED} more" if len(names) > _LISTED else ""
    return ", ".join(names[:_LISTED]) + more


def _waits(session: Session, task: Try) -> list[str]:
    """Return what keeps a task from being queued, as far as its row alone does not say it."""
    if task.state not in (None, TaskInstanceState.SCHEDULED):
        return []
    waits = []
    dag_id = task.name.dag_id
    if session.scalar(select(DagModel.is_paused).where(DagModel.dag_id == dag_id)):
        waits.append("its DAG is paused")
    pool = session.execute(
        select(Pool.slots, Pool.include_deferred).where(Pool.pool == task.pool)
    ).first()
    if pool is not None and pool.slots >= 0:
        states = (*_IN_POOL, TaskInstanceState.DEFERRED) if pool.include_deferred else _IN_POOL
        used = session.scalar(
            select(func.sum(TaskInstance.pool_slots)).where(
                TaskInstance.pool == task.pool, TaskInstance.state.in_(states)
            )
        )
        if int(used or 0) >= pool.slots:
            waits.append(f"its pool {task.pool!r} is full: {used or 0} of {pool.slots} slots")
    return waits
