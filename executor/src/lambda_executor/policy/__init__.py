"""The policies: a task goes to the smallest target that fits, where its author chose none.

Airflow loads this module in each of its processes (the entry point group `airflow.policy`), also
in those of the image, which have no executor. So it imports nothing until a task that this executor
may get needs something.
https://airflow.apache.org/docs/apache-airflow/stable/administration-and-deployment/cluster-policies.html
"""

from __future__ import annotations

import functools
from typing import Any

from airflow.configuration import conf
from airflow.policies import hookimpl
from airflow.version import version


@hookimpl
def task_policy(task: Any) -> None:  # noqa: ANN401 - an operator, mapped or not
    """Choose the queue of a task when its DAG file is read.

    Raises:
        AirflowClusterPolicyViolation: No target fits the task, or it asks for something unknown.
    """
    if task.execution_timeout is None and not task.executor_config:
        return
    if not _has_our_executor():
        return
    from lambda_executor.policy.task_routing import route  # noqa: PLC0415 - on first use

    route(task)


def _may_move() -> bool:
    """Whether the scheduler may know of offers, so that it may send a retry elsewhere."""
    executors = conf.get("core", "executor")
    if "lambda_executor." not in executors:
        return False
    has_teams = "=" in executors  # Their options have sections of their own.
    options = ("offers", "config_parameter")
    return has_teams or any(conf.get("lambda_executor", name, fallback=None) for name in options)


# Airflow creates task instances more slowly where there is such a hook and a module
# `airflow_local_settings`, so older versions, which need no hook, have none, nor has an environment
# in which no retry moves.
if tuple(map(int, version.split(".")[:2])) >= (3, 4) and _may_move():

    @hookimpl
    def task_instance_mutation_hook(task_instance: Any) -> None:  # noqa: ANN401 - Airflow's
        """Keep the queue that the last try gave to a retry."""
        if task_instance.state != "up_for_retry" or not task_instance.executor_config:
            return
        if not _has_our_executor():
            return
        from lambda_executor.policy.kept_moves import keep_move  # noqa: PLC0415 - on first use

        keep_move(task_instance)


@functools.cache
def _has_our_executor() -> bool:
    """Whether an executor of this package is configured, for all tasks or for some."""
    return "lambda_executor." in conf.get("core", "executor")
