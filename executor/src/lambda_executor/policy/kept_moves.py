"""Keeps the queue that a task's last try gave to the next one, when Airflow resets it.

Since 3.4 the scheduler copies queue and `executor_config` from the DAG file to the row of a retry
before it queues it, and calls the mutation hook then. SQLAlchemy still knows what the row had.
"""

from __future__ import annotations

from typing import Any

from sqlalchemy import inspect

from lambda_executor.contract.routing_reason import routed
from lambda_executor.core.task_settings import moved_to, with_routed


def keep_move(task_instance: Any) -> None:  # noqa: ANN401 - Airflow's task instance
    """Give a retry its queue, and the reason, again."""
    for before in inspect(task_instance).attrs.executor_config.history.deleted or ():
        if queue := moved_to(before):
            config = with_routed(task_instance.executor_config, routed(before), queue)
            task_instance.queue, task_instance.executor_config = queue, config
