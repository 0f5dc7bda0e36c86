"""The DAG of `test_environment.py` whose tasks run while another version is deployed."""

from __future__ import annotations

import os
import time
from pathlib import Path

from airflow.sdk import dag, task


@dag(schedule=None, max_active_tasks=50)
def fifty() -> None:
    """Fifty tasks."""

    @task
    def tell(_number: int) -> str:
        """Which version of the function, and which file of the image, it ran with."""
        time.sleep(1)
        marker = Path(__file__).with_name("marker.txt")
        words = marker.read_text() if marker.exists() else "none"
        return f"{os.environ['AWS_LAMBDA_FUNCTION_VERSION']} {words}"

    tell.expand(_number=list(range(50)))


fifty()
