"""Tasks of any length and size: on a function, in a MicroVM, as a job of Batch, as a task of ECS.

Only the stage of the demo has these queues (demo/installation/project.py): each is a target's.
docs/howto/which-target.md says what each is for.
"""

from __future__ import annotations

import os
import time
from datetime import timedelta

from airflow.sdk import dag, get_current_context, task

#: Limits and durations are divided by it, so that nobody has to wait: the function of the queue
#: `quarter-hour` ends a try after 5 seconds, which stand for 15 minutes.
CLOCK = 180
FORTY_MINUTES_S = 40 * 60 / CLOCK
#: Seconds after which a task gives up that no Spot interruption ends.
PATIENCE_S = 120


@dag(schedule=None, tags=["demo"])
def any_length() -> None:
    """Spread tasks over all targets."""

    @task
    def where() -> str:
        """Return what runs this task."""
        if queue := os.environ.get("AWS_BATCH_JQ_NAME"):
            return f"a job in the job queue {queue} of AWS Batch"
        if "ECS_CONTAINER_METADATA_URI_V4" in os.environ:
            return "a task of Amazon ECS"
        if image := os.environ.get("AWS_LAMBDA_MICROVM_IMAGE_NAME"):
            return f"a MicroVM of the image {image}"
        return f"the function {os.environ['AWS_LAMBDA_FUNCTION_NAME']}"

    @task(
        queue="quarter-hour",
        retries=1,
        retry_delay=timedelta(seconds=10),
        executor_config={"lambda_executor": {"on_deadline": "next_target"}},
    )
    def forty_minutes() -> None:
        """Take 40 minutes: the function stops the first try, the next larger target runs it."""
        time.sleep(FORTY_MINUTES_S)

    @task(queue="spot", retries=1, retry_delay=timedelta(seconds=1))
    def interrupted() -> None:
        """Be stopped by AWS, which takes the capacity back, and succeed in the second try."""
        if get_current_context()["ti"].try_number == 1:
            time.sleep(PATIENCE_S)
            raise TimeoutError("AWS has not taken the capacity back")

    where.override(task_id="on_a_function")()
    where.override(task_id="in_a_microvm", queue="microvm")()
    where.override(task_id="as_a_batch_job", queue="batch")()
    where.override(task_id="as_an_ecs_task", queue="ecs")()
    where.override(
        task_id="of_its_own_choice", executor_config={"lambda_executor": {"target": "batch"}}
    )()
    forty_minutes()
    interrupted()


any_length()
