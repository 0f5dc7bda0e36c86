"""The fields of the executor's lines are to be seen in Airflow's own log."""

from __future__ import annotations

import json
import os
import subprocess
import sys

import pytest

from lambda_executor.contract.log_lines import INVOCATION, TASK
from lambda_executor.scheduler.version import AIRFLOW
from tests.support.minors import ROOT

#: What a scheduler's process does before and after it starts an executor.
PROGRAM = """
import logging
import uuid

from airflow.logging_config import configure_logging
from airflow.models.taskinstancekey import TaskInstanceKey

from lambda_executor.contract.log_lines import about
from lambda_executor.scheduler.compat import show_log_fields
from lambda_executor.scheduler.keys import task_key

configure_logging()
for _ in range(2):
    show_log_fields()
key = task_key(uuid.uuid4(), TaskInstanceKey("dag", "task", "run", 2, -1))
extra = about("the-id", key) | {"other": "not shown"}
logging.getLogger("lambda_executor.engine.engine").warning("It failed: %s", "x", extra=extra)
"""


@pytest.mark.skipif(AIRFLOW < (3, 2), reason="Airflow has no JSON logs before 3.2")
def test_airflows_own_log_shows_the_fields() -> None:
    """As JSON, beside the sentence, and nothing else of what `extra` may hold."""
    env = os.environ | {
        "AIRFLOW__LOGGING__JSON_LOGS": "True",
        "PYTHONPATH": str(ROOT / "executor/src"),
    }
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM], env=env, capture_output=True, text=True, check=True
    )
    line = json.loads(done.stdout.splitlines()[-1])
    assert line["event"] == "It failed: x"
    fields = {name: line.get(name) for name in (INVOCATION, *TASK, "other")}
    assert fields == {
        "invocation_id": "the-id",
        "dag_id": "dag",
        "task_id": "task",
        "run_id": "run",
        "map_index": -1,
        "try_number": 2,
        "other": None,
    }
