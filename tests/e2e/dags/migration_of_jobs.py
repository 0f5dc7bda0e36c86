"""The DAGs of `test_migration_of_jobs.py`: tasks that know what they run on, and that wait."""

from __future__ import annotations

import os
import time
from typing import Any

from airflow.sdk import DAG, Variable, task

#: Seconds after which a task that nobody lets go gives up.
LIMIT_S = 120
SIZE = [{"name": "SIZE", "value": "large"}]
#: What the executors of the Amazon provider take.
EXECUTOR_CONFIG: dict[str, dict[str, Any]] = {
    "batch": {"containerOverrides": {"environment": SIZE}},
    "ecs": {"overrides": {"containerOverrides": [{"name": "task", "environment": SIZE}]}},
}


@task
def is_on(place: str, size: str = "") -> None:
    """Fail unless the task runs there, with the size that its `executor_config` gives it."""
    if "AWS_BATCH_JQ_NAME" in os.environ:
        found = "batch"
    elif "ECS_CONTAINER_METADATA_URI_V4" in os.environ:
        found = "ecs"
    else:
        found = "function"
    if (found, os.environ.get("SIZE", "")) != (place, size):
        raise ValueError(f"the task runs on {found} with {os.environ.get('SIZE')}, not on {place}")


@task
def wait(variable: str) -> None:
    """Run until the variable is set."""
    ends_s = time.monotonic() + LIMIT_S
    while Variable.get(variable, default=None) is None:
        if time.monotonic() > ends_s:
            raise TimeoutError(variable)
        time.sleep(0.2)


with DAG("three_executors", schedule=None):
    is_on.override(task_id="by_default")("function")
    for place, executor in (("batch", "batch"), ("ecs", "AwsEcsExecutor")):
        config = EXECUTOR_CONFIG[place]
        is_on.override(task_id=f"{place}_plain", executor=executor)(place)
        is_on.override(task_id=f"{place}_sized", executor=executor, executor_config=config)(
            place, "large"
        )

for place, config in EXECUTOR_CONFIG.items():
    for when in ("before", "after"):
        with DAG(f"{place}_{when}", schedule=None):
            is_on.override(task_id="plain")(place)
            is_on.override(task_id="sized", executor_config=config)(place, "large")
    with DAG(f"{place}_in_flight", schedule=None):
        wait(f"{place}_gate")
