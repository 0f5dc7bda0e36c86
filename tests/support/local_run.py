"""The program with Airflow's side of a local run, for tests."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from lambda_executor.ops.local_run.programs import AirflowSide
from lambda_executor.ops.terminal import Say

DAGS = """
from airflow.sdk import dag, task

@dag(schedule=None)
def daily():
    @task
    def listed():
        return [1, 2]
    @task(retries=2)
    def each(number):
        print(number)
    each.expand(number=listed())

daily()
"""


def airflow(folder: Path, say: Say, dags: str = DAGS, **request: Any) -> AirflowSide:
    """The program, with one DAG file."""
    (folder / "dags").mkdir()
    (folder / "dags" / "daily.py").write_text(dags, encoding="utf-8")
    variables = {
        "AIRFLOW_HOME": str(folder),
        "AIRFLOW__API_AUTH__JWT_SECRET": "a secret of this test, " * 3,
        "AIRFLOW__CORE__DAGS_FOLDER": str(folder / "dags"),
        "AIRFLOW__CORE__LOAD_EXAMPLES": "False",
        "AIRFLOW__DATABASE__SQL_ALCHEMY_CONN": f"sqlite:///{folder / 'airflow.db'}",
        "AIRFLOW__LOGGING__BASE_LOG_FOLDER": str(folder / "logs"),
        "HOME": os.environ.get("HOME", str(folder)),
    }
    asked = {"dag": "daily", "task": "each", "run_id": "lambda_run__1", **request}
    return AirflowSide(folder, asked, variables, say)
