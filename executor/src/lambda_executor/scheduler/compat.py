"""The differences between Airflow 3.0 to 3.3, each with the version that ended it.

`executor.py` is written for the newest Airflow; this module makes an older one look like it.
"""

from __future__ import annotations

import logging
import pkgutil
from typing import TYPE_CHECKING, Any

from airflow.configuration import conf
from airflow.executors.base_executor import BaseExecutor
from airflow.executors.workloads import ExecuteTask
from airflow.version import version
from structlog.stdlib import ExtraAdder, ProcessorFormatter

from lambda_executor.contract.log_lines import INVOCATION, TASK
from lambda_executor.provider_info import get_provider_info

AIRFLOW = tuple(int(part) for part in version.split(".")[:2])

if TYPE_CHECKING:
    from airflow.executors.workloads import ExecutorWorkload
    from airflow.executors.workloads.task import TaskInstanceDTO
    from airflow.executors.workloads.types import WorkloadKey
    from airflow.models.log import Log
    from airflow.sdk.observability import stats as stats  # noqa: PLC0414 - re-exported
    from sqlalchemy.orm import Session

    from lambda_executor.setup.option_values import Conf
elif AIRFLOW >= (3, 3):
    from airflow.sdk.observability import stats
else:
    from airflow.stats import Stats as stats  # noqa: F401, N813 - the name of its successor


class AirflowExecutor(BaseExecutor):
    """`BaseExecutor` as of Airflow 3.3."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:  # noqa: ANN401 - Airflow's own
        super().__init__(*args, **kwargs)
        self._unsaved_events: list[Log] = []

    def log_task_event(self, *, event: str, extra: str, ti_key: WorkloadKey) -> None:
        """Add an event to Airflow's audit log, and keep a reference until it is saved.

        The scheduler of 3.0 to 3.3 keeps no reference to an event that it saves, and SQLAlchemy
        only a weak one: without ours it saves empty rows, or fails.
        """
        super().log_task_event(event=event, extra=extra, ti_key=ti_key)
        unsaved = self._task_event_logs
        if len(unsaved) == 1:  # The earlier ones have been saved.
            self._unsaved_events.clear()
        if unsaved:
            self._unsaved_events.append(unsaved[-1])

    if AIRFLOW < (3, 2):

        @staticmethod
        def get_cli_commands() -> list[Any]:
            """Return the commands of the provider's metadata; 3.2 and newer read them there."""
            makers = map(pkgutil.resolve_name, get_provider_info()["cli"])
            return [command for make in makers for command in make()]

    if AIRFLOW < (3, 1):

        def queue_workload(
            self,
            workload: ExecutorWorkload,
            session: Session,  # noqa: ARG002 - Airflow's own
        ) -> None:
            """Queue a task; Airflow 3.0 leaves this to each executor."""
            if not isinstance(workload, ExecuteTask):
                raise TypeError(f"Airflow {version} has tasks only, not {type(workload).__name__}")
            self.queued_tasks[workload.ti.key] = workload


def conf_of(executor: BaseExecutor) -> Conf:
    """Return the configuration of the executor's team; before 3.1 all teams share one."""
    own: Conf = getattr(executor, "conf", conf)
    return own


def task_of(workload: ExecutorWorkload) -> TaskInstanceDTO | None:
    """Return the task of a workload; None: it is a callback (since 3.2) or a test (since 3.3)."""
    return workload.ti if isinstance(workload, ExecuteTask) else None


def key_of(workload: ExecutorWorkload) -> WorkloadKey:
    """Return Airflow's key of a workload; before 3.2 only its task has one."""
    task = task_of(workload)
    return task.key if task is not None else workload.key


def external_id_of(task: TaskInstanceDTO) -> str | None:
    """Return the id that the scheduler saved together with QUEUED; None before 3.2."""
    return getattr(task, "external_executor_id", None)


def running_state_of(workload: ExecutorWorkload) -> Any:  # noqa: ANN401 - a state of its kind
    """Return the state to report when a workload starts; None for tasks."""
    return getattr(workload, "running_state", None)


def waiting(executor: BaseExecutor) -> int:
    """Return how many tasks and (since 3.2) callbacks are still in the executor's own queues."""
    return len(executor.queued_tasks) + len(getattr(executor, "queued_callbacks", ()))


def dequeue(executor: BaseExecutor, key: WorkloadKey) -> None:
    """Remove a workload from the executor's queue of its kind."""
    for name in ("queued_tasks", "queued_callbacks", "queued_connection_tests"):
        getattr(executor, name, {}).pop(key, None)


def show_log_fields() -> None:
    """Have Airflow's own log show the fields of our lines: from 3.1 on it drops what `extra` adds.

    Other formatters, a site's own or those of 3.0, have them from the record.
    """
    for handler in logging.getLogger().handlers:
        formatter = handler.formatter
        if isinstance(formatter, ProcessorFormatter):
            chain = formatter.foreign_pre_chain or ()
            if not any(isinstance(processor, ExtraAdder) for processor in chain):
                formatter.foreign_pre_chain = [*chain, ExtraAdder(allow=(INVOCATION, *TASK))]
