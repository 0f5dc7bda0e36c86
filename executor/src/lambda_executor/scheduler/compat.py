"""The differences between Airflow 3.0 to 3.4, each with the version that ended it.

`executor.py` is written for the newest Airflow; this module makes an older one look like it.
"""

from __future__ import annotations

import logging
import pkgutil
from collections.abc import Mapping
from enum import StrEnum
from typing import TYPE_CHECKING, Any

from airflow.configuration import conf
from airflow.executors.base_executor import BaseExecutor
from airflow.executors.workloads import ExecuteTask
from airflow.version import version
from structlog.stdlib import ExtraAdder, ProcessorFormatter

from lambda_executor.contract.log_lines import INVOCATION, TASK
from lambda_executor.provider_info import get_provider_info
from lambda_executor.scheduler.keys import task_key
from lambda_executor.scheduler.version import AIRFLOW
from lambda_executor.setup.team_conf import TeamConf

if TYPE_CHECKING:
    from airflow.executors.workloads import ExecutorWorkload
    from airflow.executors.workloads.task import TaskInstanceDTO
    from airflow.executors.workloads.types import WorkloadKey
    from airflow.models.log import Log
    from airflow.models.taskinstance import TaskInstance
    from airflow.sdk.observability import stats as stats  # noqa: PLC0414 - re-exported
    from sqlalchemy.orm import Session

    from lambda_executor.setup.option_values import Conf
elif AIRFLOW >= (3, 3):
    from airflow.sdk.observability import stats
elif AIRFLOW >= (3, 2):
    from airflow.sdk.observability.stats import Stats as stats  # noqa: N813 - its successor's name
else:
    from airflow.stats import Stats as stats  # noqa: F401, N813 - the name of its successor

if TYPE_CHECKING or AIRFLOW < (3, 4):

    class WorkloadType(StrEnum):
        """The kinds of workloads; Airflow has this class since 3.4."""

        EXECUTE_TASK = "ExecuteTask"
        EXECUTE_CALLBACK = "ExecuteCallback"
        TEST_CONNECTION = "TestConnection"

    _QUEUES = {
        WorkloadType.EXECUTE_TASK: "queued_tasks",
        WorkloadType.EXECUTE_CALLBACK: "queued_callbacks",  # since 3.2
        WorkloadType.TEST_CONNECTION: "queued_connection_tests",  # since 3.3
    }
else:
    from airflow.executors.workloads import WorkloadType


class AirflowExecutor(BaseExecutor):
    """`BaseExecutor` as of Airflow 3.4."""

    supported_workload_types: frozenset[WorkloadType] = frozenset({WorkloadType.EXECUTE_TASK})

    @classmethod
    def get_task_key(cls, ti: TaskInstance | TaskInstanceDTO) -> WorkloadKey:
        """Return the key of a task's try."""
        return task_key(ti.id, ti.key)

    @classmethod
    def get_workload_key(cls, workload: ExecutorWorkload) -> WorkloadKey:
        """Return the key of a workload; before 3.2 only its task has one."""
        task = task_of(workload)
        return cls.get_task_key(task) if task is not None else workload.key

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

    if AIRFLOW < (3, 4):

        def __init__(self, *args: Any, **kwargs: Any) -> None:  # noqa: ANN401 - Airflow's own
            super().__init__(*args, **kwargs)
            self._unsaved_events: list[Log] = []

        def __init_subclass__(cls, **kwargs: Any) -> None:  # noqa: ANN401 - Airflow's own
            super().__init_subclass__(**kwargs)
            types = cls.supported_workload_types
            cls.supports_callbacks = WorkloadType.EXECUTE_CALLBACK in types
            cls.supports_connection_test = WorkloadType.TEST_CONNECTION in types

        def log_task_event(self, *, event: str, extra: str, ti_key: WorkloadKey) -> None:
            """Add an event to Airflow's audit log, and keep a reference until it is saved.

            The scheduler keeps no reference to an event that it saves, and SQLAlchemy only a weak
            one: without ours it saves empty rows, or fails.
            """
            super().log_task_event(event=event, extra=extra, ti_key=ti_key)
            unsaved = self._task_event_logs
            if len(unsaved) == 1:  # The earlier ones have been saved.
                self._unsaved_events.clear()
            if unsaved:
                self._unsaved_events.append(unsaved[-1])

        @property
        def executor_queues(self) -> Mapping[WorkloadType, dict[WorkloadKey, ExecutorWorkload]]:
            """The workloads that Airflow has queued and the executor has not taken over yet."""
            return {type: getattr(self, name, {}) for type, name in _QUEUES.items()}

        def trigger_workloads(self, open_slots: int) -> None:
            """Process queued workloads, up to the number of open slots, and connection tests."""
            self.trigger_tasks(open_slots)
            self.trigger_connection_tests()

        def trigger_connection_tests(self) -> None:
            """Process all connection tests; Airflow 3.3 processes those that have a slot."""
            if tests := self.executor_queues[WorkloadType.TEST_CONNECTION]:
                self._process_workloads(list(tests.values()))


def conf_of(executor: BaseExecutor) -> Conf:
    """Return the configuration of the executor's team, if it has one."""
    team: str | None = getattr(executor, "team_name", None)
    return TeamConf(team) if team else conf


def task_of(workload: ExecutorWorkload) -> TaskInstanceDTO | None:
    """Return the task of a workload; None: it is a callback (since 3.2) or a test (since 3.3)."""
    return workload.ti if isinstance(workload, ExecuteTask) else None


def external_id_of(task: TaskInstanceDTO) -> str | None:
    """Return the id that the scheduler saved together with QUEUED; None before 3.2."""
    return getattr(task, "external_executor_id", None)


def running_state_of(workload: ExecutorWorkload) -> Any:  # noqa: ANN401 - a state of its kind
    """Return the state to report when a workload starts; None for tasks."""
    return getattr(workload, "running_state", None)


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
