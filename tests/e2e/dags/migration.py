"""DAGs of `test_migration.py`: one of two tasks for each pairing, one that a test keeps running."""

from __future__ import annotations

import os
import time
from pathlib import Path

from airflow.sdk import DAG, task

NUMBER = 42


@task
def give() -> int:
    """A number for the next task."""
    return NUMBER


@task
def take(number: int) -> None:
    """Check the number."""
    if number != NUMBER:
        raise ValueError(f"{number} came out of XCom, not {NUMBER}")


@task
def wait() -> None:
    """Run until the test opens the gate."""
    while not Path(os.environ["MIGRATION_GATE"], "open").exists():
        time.sleep(0.1)


for dag_id in ("all_reference", "reference_image", "our_image"):
    with DAG(dag_id, schedule=None):
        take(give())  # type: ignore[arg-type]  # the number comes over XCom

with DAG("in_flight", schedule=None):
    wait()
