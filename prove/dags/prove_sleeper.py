"""A task that sleeps: `make prove` deploys while it runs, and sees it stopped in time."""

from __future__ import annotations

import time
from typing import Any

from airflow.sdk import dag, task


@dag(schedule=None, tags=["prove"])
def prove_sleeper() -> None:
    """Sleep for the seconds in the run's `conf`."""

    @task(retries=0)
    def sleep(dag_run: Any = None) -> None:
        time.sleep((dag_run.conf or {}).get("seconds", 600))

    sleep()


prove_sleeper()
