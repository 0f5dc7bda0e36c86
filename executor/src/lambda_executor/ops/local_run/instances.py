"""Finds the task instance that a local run is for."""

from __future__ import annotations

from typing import Any

from airflow.models.dagrun import DagRun
from airflow.models.serialized_dag import SerializedDagModel
from airflow.models.taskinstance import TaskInstance

from lambda_executor.contract.errors import LocalRunError


def instance(run: DagRun, task: str, map_index: int, session: Any) -> TaskInstance:  # noqa: ANN401
    """Return the task instance of a run; one of a dynamically mapped task is made.

    Args:
        run: The run.
        task: The id of the task.
        map_index: Which of a mapped task's instances; -1: it is not mapped.
        session: A session of SQLAlchemy.

    Raises:
        LocalRunError: There is no such instance.
    """
    all_of_run = run.get_task_instances(session=session)
    found = {ti.map_index: ti for ti in all_of_run if ti.task_id == task}
    if not found:
        tasks = ", ".join(sorted({ti.task_id for ti in all_of_run}))
        raise LocalRunError(f"the DAG {run.dag_id!r} has no task {task!r}, but {tasks}")
    if not _is_mapped(run.dag_id, task, session):
        if map_index != -1:
            raise LocalRunError(
                f"--map-index is for mapped tasks, and {task!r} is none: leave it out"
            )
        return found[-1]
    is_expanded = -1 not in found
    if map_index < 0 or (is_expanded and map_index not in found):
        indices = f"{min(found)} to {max(found)}" if is_expanded else "from 0"
        raise LocalRunError(f"the task {task!r} is mapped: give --map-index, {indices}")
    if is_expanded:
        return found[map_index]
    found[-1].map_index = map_index
    return found[-1]


def _is_mapped(dag: str, task: str, session: Any) -> bool:  # noqa: ANN401
    """Whether a run has a task several times, by itself or in a mapped task group."""
    found: Any = SerializedDagModel.get_dag(dag, session=session)
    return bool(found.get_task(task).get_needs_expansion())
