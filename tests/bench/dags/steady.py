"""A steady load: every minute a run with fifty tasks, one of which defers."""

from __future__ import annotations

import datetime as dt

from airflow.providers.standard.sensors.date_time import DateTimeSensorAsync
from airflow.sdk import dag, task

TASKS_A_MINUTE = 50


@dag(schedule="* * * * *", start_date=dt.datetime(2026, 1, 1, tzinfo=dt.UTC), catchup=False)
def steady() -> None:
    """Fifty small tasks after a short wait in the triggerer."""

    @task
    def square(number: int) -> int:
        return number * number

    wait = DateTimeSensorAsync(
        task_id="wait", target_time="{{ (dag_run.run_after + macros.timedelta(seconds=5)) }}"
    )
    wait >> square.expand(number=list(range(TASKS_A_MINUTE - 1)))


steady()
