"""The DAG of `test_targets.py`: one task for each target, and one that Spot interrupts."""

from __future__ import annotations

import os
import time

from airflow.sdk import DAG, Variable, get_current_context, task

#: Seconds after which a task that nobody interrupts gives up.
LIMIT_S = 120


@task
def where() -> str:
    """What runs this task."""
    if job := os.environ.get("AWS_BATCH_JQ_NAME"):
        return f"batch {job}"
    if "ECS_CONTAINER_METADATA_URI_V4" in os.environ:
        return "ecs"
    return "function"


@task(retries=1, retry_delay=0.1)
def interrupted() -> None:
    """Wait for an interruption in the first try, and succeed in the second."""
    if get_current_context()["ti"].try_number > 1:
        return
    Variable.set("targets_waits", "yes")
    time.sleep(LIMIT_S)
    raise TimeoutError("nobody interrupted it")


with DAG("targets", schedule=None):
    where.override(task_id="function")()
    where.override(task_id="batch", queue="long")()
    where.override(task_id="ecs", queue="huge")()
    where.override(task_id="chosen", executor_config={"lambda_executor": {"target": "long"}})()
    where.override(task_id="routed", executor_config={"lambda_executor": {"memory_mb": 4096}})()
    interrupted.override(queue="long")()
