"""The DAGs of `test_migration.py` whose tasks run on four executors of one scheduler."""

from __future__ import annotations

import os

from airflow.sdk import DAG, task


@task
def is_on(place: str) -> None:
    """Fail unless the task runs there: in a function, on the `worker`, beside the `scheduler`."""
    function = os.environ.get("AWS_LAMBDA_FUNCTION_NAME")
    found = function or os.environ.get("PLACE", "scheduler")
    if found != place:
        raise ValueError(f"the task runs on {found}, not on {place}")


with DAG("side_by_side", schedule=None):
    is_on.override(task_id="by_default")("scheduler")
    for task_id, place, executor in (
        ("local", "scheduler", "LocalExecutor"),
        ("celery_by_alias", "worker", "celery"),
        ("celery_by_class", "worker", "CeleryExecutor"),
        ("provider_by_alias", "reference-beside-us", "provider"),
        ("by_alias", "our-image", "lambda"),
        ("by_class", "our-image", "LambdaExecutor"),
        ("by_path", "our-image", "lambda_executor.LambdaExecutor"),
    ):
        is_on.override(task_id=task_id, executor=executor)(place)

with DAG("by_default_args", schedule=None, default_args={"executor": "lambda"}):
    is_on.override(task_id="ours")("our-image")
    is_on.override(task_id="elsewhere", executor="LocalExecutor")("scheduler")
