"""When there is no rehearsal, because somebody would hear of it."""

from __future__ import annotations

from typing import Any

import pytest
from airflow import policies, settings

from lambda_image.runtime import rehearsal


class DagPolicy:
    """As an entry point of `airflow.policy`, or `airflow_local_settings`, registers it."""

    @policies.hookimpl
    def dag_policy(self, dag: object) -> None:
        """Do nothing."""


class TaskPolicy:
    """The same for tasks."""

    @policies.hookimpl
    def task_policy(self, task: object) -> None:
        """Do nothing."""


def test_nobody_hears_of_a_task_by_default() -> None:
    """Airflow's own policies tell nobody."""
    assert rehearsal._reaches_nobody()


@pytest.mark.parametrize(
    "option",
    [
        *("METRICS__STATSD_ON", "METRICS__OTEL_ON", "METRICS__STATSD_DATADOG_ENABLED"),
        *("TRACES__OTEL_ON", "SENTRY__SENTRY_ON"),
    ],
)
def test_an_option_that_tells_of_every_task_is_respected(
    monkeypatch: pytest.MonkeyPatch, option: str
) -> None:
    """Metrics, traces and errors of a task that is not real would go to others."""
    monkeypatch.setenv(f"AIRFLOW__{option}", "True")
    assert not rehearsal._reaches_nobody()


@pytest.mark.parametrize("policy", [DagPolicy(), TaskPolicy()])
def test_a_cluster_policy_may_tell(policy: object) -> None:
    """It may give every task a callback that posts."""
    manager: Any = settings.get_policy_plugin_manager()
    manager.register(policy)
    try:
        assert not rehearsal._reaches_nobody()
    finally:
        manager.unregister(policy)
    assert rehearsal._reaches_nobody()
