"""Stores an XCom as the Execution API does: its client has serialized the value."""

from __future__ import annotations

import inspect
from typing import Any

from airflow.models.dagrun import DagRun
from airflow.models.xcom import XComModel

#: Since Airflow 3.2 the model has a method for it, and since 3.4 several tables.
_HAS_METHOD = "serialize" in inspect.signature(XComModel.set).parameters


def store(run: DagRun, task: str, value: Any, session: Any, **more: Any) -> None:  # noqa: ANN401
    """Store what a task of a run has returned.

    Args:
        run: The run.
        task: The id of the task.
        value: Any JSON.
        session: A session of SQLAlchemy.
        more: Another `key`, or the `map_index` of a mapped task.

    Raises:
        ValueError: The run has no such task instance; only since Airflow 3.4.
    """
    where = {"key": "return_value", "map_index": -1, **more}
    where |= {"dag_id": run.dag_id, "task_id": task, "run_id": run.run_id}
    if _HAS_METHOD:
        XComModel.set(value=value, serialize=False, session=session, **where)
    else:
        model: Any = XComModel
        session.add(model(dag_run_id=run.id, value=value, **where))
