"""Publishes new prices: what goes wrong is told, a deadline is watched, a person decides."""

from __future__ import annotations

import logging
from datetime import timedelta
from typing import Any

from airflow.providers.standard.operators.hitl import ApprovalOperator
from airflow.sdk import (
    Context,
    DeadlineAlert,
    DeadlineReference,
    SyncCallback,
    dag,
    get_current_context,
    task,
)

log = logging.getLogger(__name__)


def tell_the_team(context: Context) -> None:
    """Tell the team how a try ended; here it is a log line, in your DAG perhaps a chat message.

    A callback of a task runs in the task's own process, so in the same function.
    """
    instance = context["task_instance"]
    log.warning(
        "TEAM: %s, try %d: %s", instance.task_id, instance.try_number, context.get("exception")
    )


def tell_who_is_on_call(dag_name: str, context: dict[str, Any]) -> None:
    """Tell somebody that a run is late.

    Airflow gives a `SyncCallback` to the executor, so it is an invocation of its own. It may run
    twice, so it must tolerate that.
    """
    log.warning("ON CALL: %s run %s is late", dag_name, context["dag_run"]["dag_run_id"])


@dag(
    schedule=None,
    tags=["example"],
    deadline=DeadlineAlert(
        reference=DeadlineReference.DAGRUN_QUEUED_AT,
        interval=timedelta(seconds=5),  # So that you see it: a real one has an hour or two.
        callback=SyncCallback(tell_who_is_on_call, kwargs={"dag_name": "publish_prices"}),
    ),
)
def publish_prices() -> None:
    """Prices need an approval before they are published, and so do discounts."""

    @task(retries=1, retry_delay=timedelta(seconds=10), on_retry_callback=tell_the_team)
    def fetch_prices() -> dict[str, float]:
        """Fetch the supplier's prices. On purpose, the first try fails."""
        if get_current_context()["ti"].try_number == 1:
            raise ConnectionError("the supplier's server is busy")
        return {"bread": 4.2, "milk": 2.5}

    @task(on_failure_callback=tell_the_team)
    def fetch_forecast() -> float:
        """Fetch what is nice to have. On purpose, it fails, and the run goes on without it."""
        raise ConnectionError("the forecast is not ready")

    def approval(of: str) -> ApprovalOperator:
        # The task waits without a function until somebody answers, in the UI or through the API.
        return ApprovalOperator(
            task_id=f"approve_{of}",
            subject=f"Publish the new {of}?",
            body="{{ ti.xcom_pull(task_ids='fetch_prices') }}",
            defaults=ApprovalOperator.REJECT,
            response_timeout=timedelta(hours=12),  # Then the default answer counts.
        )

    @task(on_success_callback=tell_the_team)
    def publish(what: str) -> str:
        """Publish what was approved; a rejection skips this task."""
        return f"{what} published"

    fetched = fetch_prices()
    for what in ("prices", "discounts"):
        fetched >> approval(what) >> publish.override(task_id=f"publish_{what}")(what)

    @task(trigger_rule="all_done")
    def tidy_up() -> None:
        """Runs in any case, and decides that the run succeeds without the forecast."""

    fetch_forecast() >> tidy_up()


publish_prices()
