"""The DAG of `test_environment.py` whose task says what it ran with."""

from __future__ import annotations

import os
from pathlib import Path

from airflow.sdk import dag, task


@dag(schedule=None)
def version() -> None:
    """One task."""

    @task
    def tell() -> list[str]:
        """The version of the function, and a file of its image."""
        marker = Path(__file__).with_name("marker.txt")
        words = marker.read_text() if marker.exists() else "none"
        return [os.environ["AWS_LAMBDA_FUNCTION_VERSION"], words]

    tell()


version()
