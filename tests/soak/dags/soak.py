"""The load of the soak: a run has twenty tasks, and one of every kind of end; runs on targets."""

from __future__ import annotations

import datetime as dt

from airflow.providers.standard.sensors.date_time import DateTimeSensorAsync
from airflow.sdk import dag, get_current_context, task

#: Without `squares`, a run has five tasks.
SQUARES = 15
#: Of the larger result: far more than a number, and less than an answer of the API may be.
RESULT_BYTES = 256 * 1024


@dag(schedule=None, max_active_tasks=1000, max_active_runs=100)
def soak() -> None:
    """Small tasks, one that fails, one that retries, one that defers, one with a larger result."""

    @task
    def square(number: int) -> int:
        return number * number

    @task
    def fails() -> None:
        raise RuntimeError("this task fails on purpose")

    @task(retries=1, retry_delay=dt.timedelta(seconds=1))
    def retries() -> None:
        if get_current_context()["ti"].try_number == 1:
            raise RuntimeError("the first try fails on purpose")

    @task(show_return_value_in_logs=False)
    def large() -> str:
        return "x" * RESULT_BYTES

    @task(trigger_rule="all_done")
    def last(text: str) -> None:
        if len(text) != RESULT_BYTES:
            raise ValueError(f"the result has {len(text)} characters, not {RESULT_BYTES}")

    defers = DateTimeSensorAsync(
        task_id="defers", target_time="{{ dag_run.run_after + macros.timedelta(seconds=5) }}"
    )
    end = last(large())  # type: ignore[arg-type]  # Airflow passes the result
    [square.expand(number=list(range(SQUARES))), fails(), retries(), defers] >> end


@dag(schedule=None, max_active_runs=100)
def soak_targets() -> None:
    """One task in a MicroVM, one as a job of Batch, one as a task of ECS."""

    @task
    def nothing() -> None:
        """Do nothing: what is measured is everything around it."""

    for queue in ("microvm", "batch", "ecs"):
        nothing.override(task_id=queue, queue=queue)()


soak()
soak_targets()
