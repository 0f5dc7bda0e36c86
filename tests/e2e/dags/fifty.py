"""The DAG of `test_environment.py` whose tasks run while another version is deployed."""

from __future__ import annotations

import os
import time
from pathlib import Path

from airflow.sdk import Variable, dag, task

#: Seconds after which a task that nobody lets go on gives up.
LIMIT_S = 150


@dag(schedule=None, max_active_tasks=50)
def fifty() -> None:
    """Fifty tasks."""

    @task
    def tell(_number: int) -> str:
        """Which version of the function, and which file of the image, it ran with."""
        until_s = time.monotonic() + LIMIT_S
        while Variable.get("fifty_may_go_on", default=None) is None:
            if time.monotonic() > until_s:
                raise TimeoutError("nobody let it go on")
            time.sleep(0.5)
        marker = Path(__file__).with_name("marker.txt")
        words = marker.read_text() if marker.exists() else "none"
        return f"{os.environ['AWS_LAMBDA_FUNCTION_VERSION']} {words}"

    tell.expand(_number=list(range(50)))


fifty()
