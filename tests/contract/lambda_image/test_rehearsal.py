"""When there is no rehearsal, because somebody would hear of it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from airflow import policies, settings

from lambda_image.runtime import rehearsal
from tests.support import init_imports
from tests.support.minors import python_of

#: Prints whether the executor's policy is loaded, and whether there is a rehearsal nevertheless.
_WITH_OURS = """
import os, sys
import lambda_image.handler
from lambda_image.runtime import rehearsal
line = repr(["lambda_executor.policy" in sys.modules, rehearsal._reaches_nobody()])
os.write(1, b"\\n" + line.encode() + b"\\n")  # Not printed, which makes a line of the log of it.
os._exit(0)
"""


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


def test_the_executors_own_policy_tells_nobody(minor: str, tmp_path: Path) -> None:
    """The image installs the executor, whose policy does nothing where another executor is set."""
    done = init_imports.run(python_of(minor), tmp_path, "-c", _WITH_OURS)
    assert done.stdout.splitlines()[-1] == "[True, True]"
