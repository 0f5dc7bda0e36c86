"""The DAG of `test_migration.py` whose tasks run on two executors of one scheduler."""

from __future__ import annotations

import os

from airflow.sdk import DAG, task


@task
def is_on(place: str) -> None:
    """Fail unless the task runs there: in a `function`, or beside the `scheduler`."""
    found = "function" if "AWS_LAMBDA_FUNCTION_NAME" in os.environ else "scheduler"
    if found != place:
        raise ValueError(f"the task runs on the {found}, not on the {place}")


with DAG("side_by_side", schedule=None):
    is_on.override(task_id="by_default")("scheduler")
    for task_id, place, executor in (
        ("local", "scheduler", "LocalExecutor"),
        ("by_alias", "function", "lambda"),
        ("by_class", "function", "LambdaExecutor"),
        ("by_path", "function", "lambda_executor.LambdaExecutor"),
    ):
        is_on.override(task_id=task_id, executor=executor)(place)
