"""For each executor: eight tasks that warm eight slots up, and two hundred that do nothing."""

from __future__ import annotations

import time

from airflow.sdk import dag, task

WARM_UP_S = 3.0
EXECUTORS = ("ours", "waiting", "LocalExecutor", "reference")
ROUNDS = 2


def mapped(dag_id: str, tasks: int, seconds: float) -> None:
    """One DAG with so many task instances."""

    @dag(dag_id=dag_id, schedule=None, max_active_tasks=1000)
    def build() -> None:
        @task
        def nothing(number: int) -> None:  # noqa: ARG001 - what it is mapped over
            if seconds:
                time.sleep(seconds)

        nothing.expand(number=list(range(tasks)))

    build()


for executor in EXECUTORS:
    for number in range(ROUNDS):
        mapped(f"warm_up_{executor}_{number}", 8, WARM_UP_S)
        mapped(f"measured_{executor}_{number}", 200, 0)
