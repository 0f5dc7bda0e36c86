"""A task whose first try fails and whose second succeeds."""

from __future__ import annotations

from datetime import timedelta

from airflow.sdk import dag, get_current_context, task


@dag(schedule=None, tags=["demo"])
def retry_once() -> None:
    """Fail on the first try on purpose."""

    @task(retries=1, retry_delay=timedelta(seconds=3))
    def fail_on_first_try() -> int:
        try_number: int = get_current_context()["ti"].try_number
        if try_number == 1:
            raise RuntimeError("the first try fails on purpose")
        return try_number

    fail_on_first_try()


retry_once()
