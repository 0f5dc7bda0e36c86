"""Who retried and purged dead letters, in Airflow's audit log."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from airflow.api_fastapi.auth.managers.models.base_user import BaseUser
from airflow.models.log import Log

from lambda_executor.contract.errors import LambdaExecutorError
from lambda_executor.ops.dead_letters import TaskName
from lambda_executor.ops.tasks import airflow_session

RETRY = "lambda_executor_retry"
PURGE = "lambda_executor_purge"


@contextmanager
def recorded(event: str, user: BaseUser, task: TaskName | None = None) -> Iterator[dict[str, Any]]:
    """Write what a person did when the block ends, also with an error.

    The block adds the outcome, without the dispatch id of a task in flight: that is a secret.

    Args:
        event: What is done, `RETRY` or `PURGE`.
        user: Who does it.
        task: The task that it is done with, so that Airflow shows the event to who may see it.

    Raises:
        DatabaseError: Airflow's database cannot be written.
    """
    outcome: dict[str, Any] = {}
    try:
        yield outcome
    except LambdaExecutorError as e:
        outcome["error"] = str(e)
        raise
    finally:
        name = user.get_name()
        row = Log(
            event=event,
            owner=name,
            owner_display_name=name,
            extra=json.dumps(outcome),
            **(_columns(task) if task else {}),
        )
        with airflow_session() as session:
            session.add(row)


def _columns(task: TaskName) -> Mapping[str, Any]:
    return {
        "dag_id": task.dag_id,
        "run_id": task.run_id,
        "task_id": task.task_id,
        "map_index": task.map_index,
        "try_number": task.try_number,
    }
