"""Everything that differs between the versions of Airflow that the executor runs in: 3.0 to 3.3.

`executor.py` sees one Airflow, the newest; this module makes an older one look like it. Each
difference stands here once, with the version that ended it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from airflow.configuration import conf
from airflow.executors.base_executor import BaseExecutor
from airflow.executors.workloads import ExecuteTask
from airflow.version import version

AIRFLOW = tuple(int(part) for part in version.split(".")[:2])

if TYPE_CHECKING:
    from airflow.executors.workloads import ExecutorWorkload
    from airflow.executors.workloads.task import TaskInstanceDTO
    from airflow.executors.workloads.types import WorkloadKey
    from airflow.models.log import Log
    from airflow.sdk.observability import stats
    from sqlalchemy.orm import Session

    from lambda_executor.setup.option_values import Conf
elif AIRFLOW >= (3, 3):
    from airflow.sdk.observability import stats
else:
    from airflow.stats import Stats as stats  # noqa: N813 - the name of its successor

__all__ = [
    "AIRFLOW",
    "AirflowExecutor",
    "conf_of",
    "dequeue",
    "external_id_of",
    "key_of",
    "running_state_of",
    "stats",
    "task_of",
    "waiting",
]


class AirflowExecutor(BaseExecutor):
    """`BaseExecutor` as of Airflow 3.3."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:  # noqa: ANN401 - Airflow's own
        super().__init__(*args, **kwargs)
        self._unsaved_events: list[Log] = []

    def log_task_event(self, *, event: str, extra: str, ti_key: WorkloadKey) -> None:
        """Add an event to Airflow's log, and keep it until it is saved.

        The scheduler saves these from a generator that drops each as it goes, and SQLAlchemy holds
        what it saves weakly: in 3.0 to 3.3 nothing but empty rows arrives, or an error.
        """
        super().log_task_event(event=event, extra=extra, ti_key=ti_key)
        waiting = self._task_event_logs
        if len(waiting) == 1:  # The earlier ones have been saved.
            self._unsaved_events.clear()
        if waiting:
            self._unsaved_events.append(waiting[-1])

    if AIRFLOW < (3, 1):

        def queue_workload(
            self,
            workload: ExecutorWorkload,
            session: Session,  # noqa: ARG002 - Airflow's own
        ) -> None:
            """Take a task; 3.0 leaves it to each executor."""
            if not isinstance(workload, ExecuteTask):
                raise TypeError(f"Airflow {version} has tasks only, not {type(workload).__name__}")
            self.queued_tasks[workload.ti.key] = workload


def conf_of(executor: BaseExecutor) -> Conf:
    """The configuration of the executor's team; before 3.1 there is one for all."""
    own: Conf = getattr(executor, "conf", conf)
    return own


def task_of(workload: ExecutorWorkload) -> TaskInstanceDTO | None:
    """The task of a workload; None when it is of another kind (3.2: callbacks, 3.3: tests)."""
    return workload.ti if isinstance(workload, ExecuteTask) else None


def key_of(workload: ExecutorWorkload) -> WorkloadKey:
    """Airflow's key of a workload; before 3.2 only its task has one."""
    task = task_of(workload)
    return task.key if task is not None else workload.key


def external_id_of(task: TaskInstanceDTO) -> str | None:
    """The id that the scheduler committed together with QUEUED; 3.2."""
    return getattr(task, "external_executor_id", None)


def running_state_of(workload: ExecutorWorkload) -> Any:  # noqa: ANN401 - a state of its kind
    """The state that Airflow wants to hear of before the end; None for tasks."""
    return getattr(workload, "running_state", None)


def waiting(executor: BaseExecutor) -> int:
    """How many tasks and (3.2) callbacks the executor was given and has not taken over."""
    return len(executor.queued_tasks) + len(getattr(executor, "queued_callbacks", ()))


def dequeue(executor: BaseExecutor, workload: ExecutorWorkload) -> None:
    """Take a workload out of the executor's queue of its kind."""
    key = key_of(workload)
    for name in ("queued_tasks", "queued_callbacks", "queued_connection_tests"):
        getattr(executor, name, {}).pop(key, None)
