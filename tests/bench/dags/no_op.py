"""Tasks that do nothing: what is measured is everything around them."""

from __future__ import annotations

import time

from airflow.sdk import dag, task


@dag(schedule=None)
def no_op() -> None:
    """One task that does nothing, and one that tells when it started to."""

    @task
    def nothing() -> None:
        pass

    @task
    def first_line() -> None:
        print(f"first line at {time.time()}")  # noqa: T201 - read from the output

    nothing()
    first_line()


no_op()
