"""The DAG of `test_targets_of_a_stage.py`: tasks for each target, good, bad, and sharing a file."""

from __future__ import annotations

import os
import time
from pathlib import Path

import psutil
from airflow.sdk import DAG, Variable, get_current_context, task

#: Seconds after which a task gives up that waits for its reader.
LIMIT_S = 200
SHARED = Path("/mnt/shared")


@task
def where() -> list[str | None]:
    """What runs this task, and a variable that the stage gives to all workloads."""
    variable = os.environ.get("OF_THE_STAGE")
    if job := os.environ.get("AWS_BATCH_JQ_NAME"):
        return [f"batch {job}", variable]
    if "ECS_CONTAINER_METADATA_URI_V4" in os.environ:
        return ["ecs", variable]
    return ["function" if "AWS_LAMBDA_FUNCTION_NAME" in os.environ else "microvm", variable]


@task
def is_read() -> None:
    """Say something, and wait until somebody has read it."""
    print("waits for a reader", flush=True)  # noqa: T201 - a task's log
    until_s = time.monotonic() + LIMIT_S
    while Variable.get("targets_of_a_stage_read", default=None) is None:
        if time.monotonic() > until_s:
            raise TimeoutError("nobody has read it")
        time.sleep(0.5)


@task
def kills_its_job() -> None:
    """Kill the process that would send the result.

    The zygote, which starts the tasks, stays: the sender would see and report its death.
    """
    _zygote, sender = psutil.Process().parents()[:2]
    sender.kill()
    time.sleep(LIMIT_S)


@task
def add(line: str) -> None:
    """Add a line to the file that the tasks of this run share, if there is a place for it."""
    if SHARED.is_dir():
        with (SHARED / get_current_context()["run_id"]).open("a") as file:
            file.write(f"{line}\n")


@task
def found() -> list[str]:
    """What the others have left there."""
    file = SHARED / get_current_context()["run_id"]
    return file.read_text().split() if file.exists() else []


with DAG("targets_of_a_stage", schedule=None):
    where.override(task_id="function")()
    where.override(task_id="batch", queue="long")()
    where.override(task_id="ecs", queue="huge")()
    where.override(task_id="ecs_too", queue="huge-too")()
    where.override(task_id="micro_vm", queue="hours")()
    for queue in ("long", "huge", "hours"):
        is_read.override(task_id=f"is_read_{queue}", queue=queue)()
        kills_its_job.override(task_id=f"kills_{queue}", queue=queue)()
    elsewhere = {"lambda_executor": {"target": "nowhere"}}
    where.override(task_id="nowhere", executor_config=elsewhere)()
    unknown = {"batch": {"jobQueues": ["other"]}}
    where.override(task_id="unknown", queue="long", executor_config=unknown)()
    refused = {"ecs": {"taskDefinition": "another"}}
    where.override(task_id="refused", queue="huge", executor_config=refused)()
    (
        add.override(task_id="add")("function")
        >> add.override(task_id="add_in_batch", queue="long")("batch")
        >> add.override(task_id="add_in_ecs", queue="huge")("ecs")
        >> found()
    )
