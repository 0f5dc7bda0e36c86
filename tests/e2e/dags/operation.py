"""The DAG of `test_operation.py`: a task that speaks, and runs until the test lets it end."""

from __future__ import annotations

import logging
import time

from airflow.sdk import Variable, dag, task

#: Seconds after which it gives up.
LIMIT_S = 120


@dag(schedule=None)
def operation() -> None:
    """One task."""

    @task
    def speak() -> None:
        logging.getLogger("operation").info("said by the task")
        until_s = time.monotonic() + LIMIT_S
        while Variable.get("operation_may_end", default=None) is None:
            if time.monotonic() > until_s:
                raise TimeoutError("nobody let it end")
            time.sleep(0.2)

    speak()


operation()
