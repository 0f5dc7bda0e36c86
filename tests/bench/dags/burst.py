"""For each function: two hundred tasks that do nothing and may all run at once."""

from __future__ import annotations

from airflow.sdk import dag, task

TASKS = 200
FUNCTIONS = ("snapshots-0", "plain-0", "snapshots-1", "plain-1")


def burst(function: str) -> None:
    """One DAG whose tasks run in one function."""

    @dag(dag_id=f"burst-{function}", schedule=None, max_active_tasks=TASKS)
    def build() -> None:
        @task(queue=function)
        def nothing(number: int) -> None:
            """Do nothing with what it is mapped over."""

        nothing.expand(number=list(range(TASKS)))

    build()


for each in FUNCTIONS:
    burst(each)
