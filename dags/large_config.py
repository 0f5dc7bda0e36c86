"""A task whose executor_config is larger than one Lambda event can be (1 MiB)."""

from __future__ import annotations

from airflow.sdk import dag, task


@dag(schedule=None, tags=["demo"])
def large_config() -> None:
    """Send one invocation through the payload bucket."""

    @task(executor_config={"notes": "x" * (1024 * 1024 + 1)})
    def arrive() -> str:
        return "it came through S3"

    arrive()


large_config()
