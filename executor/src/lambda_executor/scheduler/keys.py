"""Airflow's keys of tasks: since Airflow 3.4 the UUID of one try, before that its names."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeVar, cast

from airflow.models.taskinstance import TaskInstance
from airflow.models.taskinstancekey import TaskInstanceKey

from lambda_executor.scheduler.version import AIRFLOW

if TYPE_CHECKING:
    from uuid import UUID

    from airflow.executors.workloads.types import WorkloadKey
    from sqlalchemy import ColumnElement

Item = TypeVar("Item")

#: Most keys of one query: each is a term of its WHERE clause.
CHUNK = 200

if AIRFLOW >= (3, 4):
    from airflow.executors.workloads.types import (  # type: ignore[attr-defined]
        TaskInstanceUuid,
    )

    @dataclass(frozen=True, slots=True, eq=False)
    class Attempt(TaskInstanceUuid):  # type: ignore[misc] # mypy sees 3.3
        """Airflow's key of one try, equal to it, with the try's names for log lines."""

        dag_id: str
        task_id: str
        run_id: str
        try_number: int
        map_index: int

        def __eq__(self, other: object) -> bool:
            return isinstance(other, TaskInstanceUuid) and self.id == other.id

        __hash__ = TaskInstanceUuid.__hash__

        def __str__(self) -> str:
            return str(self.names)

        @property
        def names(self) -> TaskInstanceKey:
            """The key of the try before 3.4; in a loop, several tries have the same one."""
            return TaskInstanceKey(*(getattr(self, name) for name in TaskInstanceKey._fields))


def is_task(key: WorkloadKey) -> bool:
    """Whether a workload's key is that of a task."""
    return isinstance(key, Attempt if AIRFLOW >= (3, 4) else TaskInstanceKey)


def task_key(id: UUID, names: TaskInstanceKey) -> WorkloadKey:
    """Return the key of a try: its UUID since 3.4, its names before."""
    return cast("WorkloadKey", Attempt(id, *names)) if AIRFLOW >= (3, 4) else names


def in_chunks(keys: Iterable[Item]) -> Iterator[list[Item]]:
    """Yield the keys for one query after the other, `CHUNK` in each."""
    rest = iter(keys)
    while chunk := list(itertools.islice(rest, CHUNK)):
        yield chunk


def rows_of(keys: Iterable[WorkloadKey]) -> ColumnElement[bool]:
    """Return the condition of a query for the task instances with these keys; at least one."""
    if AIRFLOW >= (3, 4):
        return TaskInstance.id.in_([cast("Attempt", key).id for key in keys])
    # It also selects the other tries of these tasks.
    return cast("ColumnElement[bool]", TaskInstance.filter_for_tis(cast("Any", keys)))
