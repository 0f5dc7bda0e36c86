"""A task that fails on every try: the demo expects it to."""

from __future__ import annotations

from airflow.sdk import dag, task


@dag(schedule=None, tags=["demo"])
def fails_for_good() -> None:
    """Fail on purpose; what comes after must not run."""

    @task
    def always_fails() -> None:
        raise RuntimeError("this task fails on purpose")

    @task
    def never_runs() -> None:
        """Would only run if the failure had been lost."""

    always_fails() >> never_runs()


fails_for_good()
