"""A program for `test_late_results.py`: one result, and what the scheduler makes of it.

It runs in the environment of any supported Airflow, with a database in the folder that it is
started in. It dispatches a task, stores the state that the task has when the result arrives, lets
the result arrive, and runs the scheduler's own `process_executor_events` until the message is
deleted. It prints one JSON object per case.
"""

from __future__ import annotations

import dataclasses
import json
import sys
import time
import uuid
from datetime import UTC, datetime
from typing import Any

from airflow import settings
from airflow.executors.workloads import ExecuteTask
from airflow.jobs.scheduler_job_runner import SchedulerJobRunner
from airflow.models import import_all_models
from airflow.models.base import Base
from airflow.models.dag import DagModel
from airflow.models.dagbundle import DagBundleModel
from airflow.models.dagrun import DagRun
from airflow.models.log import Log
from airflow.models.taskinstance import TaskInstance
from airflow.sdk import DAG, BaseOperator
from airflow.serialization import serialized_objects
from airflow.utils.session import create_session
from sqlalchemy import insert, select, update

from lambda_executor import LambdaExecutor
from lambda_executor.contract.wire import Result
from lambda_executor.core.ports import Endpoints
from lambda_executor.scheduler.version import AIRFLOW
from lambda_executor.testing import MemoryFunction, MemoryQueue
from tests.support.scheduler import SETTINGS

#: The id of the scheduler's job.
JOB_ID = 1


@dataclasses.dataclass(frozen=True)
class Case:
    """A result, and the state of its task when it arrives.

    Attributes:
        name: The task's id.
        state: The state of the task.
        return_code: That of the result.
        task_state: The state that the result names.
        next_method: Where a deferred task continues.
        retries: The task's retries, as the serialized DAG has them; None: it lacks the task.
    """

    name: str
    state: str
    return_code: int = 0
    task_state: str | None = None
    next_method: str | None = None
    retries: int | None = None


class DagBag:
    """A `scheduler_dag_bag` with the DAG, as Airflow serializes it, and some of its tasks."""

    def __init__(self) -> None:
        self._dag = DAG("dag", schedule=None, start_date=datetime(2026, 1, 1, tzinfo=UTC))

    def add(self, task_id: str, retries: int) -> None:
        """Add a task to the DAG."""
        BaseOperator(task_id=task_id, retries=retries, dag=self._dag)

    def _get(self, **_: Any) -> Any:
        name = "DagSerialization" if AIRFLOW >= (3, 2) else "SerializedDAG"
        serialization = getattr(serialized_objects, name)
        return serialization.from_dict(serialization.to_dict(self._dag))

    get_dag = get_dag_for_run = _get  # The first: Airflow 3.0.


def create_database() -> None:
    """Create Airflow's tables, with one DAG and one run of it."""
    import_all_models()  # type: ignore[no-untyped-call]
    Base.metadata.create_all(settings.engine)
    now = datetime.now(tz=UTC)
    with create_session() as session:
        session.execute(insert(DagBundleModel).values(name="bundle"))
        dag = DagModel(dag_id="dag", bundle_name="bundle", fileloc="/d", max_active_tasks=9)  # type: ignore[no-untyped-call]
        session.add(dag)
        session.flush()
        session.execute(
            insert(DagRun).values(
                dag_id="dag",
                run_id="run",
                run_type="manual",
                run_after=now,
                start_date=now,
                state="running",
            )
        )


def queue(task_id: str, retries: int) -> ExecuteTask:
    """Store a queued task; return its workload."""
    id = uuid.uuid4()
    row = {
        "id": id if AIRFLOW >= (3, 2) else str(id),
        "dag_id": "dag",
        "task_id": task_id,
        "run_id": "run",
        "map_index": -1,
        "try_number": 1,
        "pool": "default_pool",
        "pool_slots": 1,
        "queue": "default",
        "priority_weight": 1,
    }
    with create_session() as session:
        session.execute(
            insert(TaskInstance).values(
                **row,
                max_tries=retries,
                state="queued",
                queued_by_job_id=JOB_ID,
                executor_config={},
            )
        )
    return ExecuteTask.model_validate(
        {
            "token": "token",
            "dag_rel_path": "dag.py",
            "bundle_info": {"name": "bundle"},
            "log_path": "x.log",
            "ti": {
                **row,
                "id": str(id),
                "dag_version_id": str(uuid.uuid4()),
                "external_executor_id": str(uuid.uuid4()),
            },
        }
    )


class Scheduler:
    """A scheduler's loop around one executor."""

    def __init__(self) -> None:
        self.executor = LambdaExecutor(parallelism=4)
        self.function = MemoryFunction()
        self.results = MemoryQueue("results")
        self._cases = 0
        self._dags = DagBag()
        endpoints = Endpoints(self.function, [self.results], MemoryQueue("dead"), None)
        self.executor.start_on(SETTINGS, endpoints)

    def loop(self) -> None:
        """Heartbeat, and process the executor's events as the scheduler does."""
        self.executor.heartbeat()
        with create_session() as session:
            SchedulerJobRunner.process_executor_events(
                executor=self.executor,
                job_id=JOB_ID,
                scheduler_dag_bag=self._dags,  # type: ignore[arg-type]
                session=session,
            )

    def run(self, case: Case) -> dict[str, Any]:
        """Dispatch a task, let its result arrive, and return what became of it."""
        if case.retries is not None:
            self._dags.add(case.name, case.retries)
        task = queue(case.name, case.retries or 0)
        self.executor.queue_workload(task, session=None)  # type: ignore[arg-type]
        self.loop()
        self._cases += 1
        assert self.function.wait_for(self._cases)
        with create_session() as session:
            session.execute(
                update(TaskInstance)
                .where(TaskInstance.task_id == case.name)
                .values(state=case.state, next_method=case.next_method)
            )
        invocation = self.function.invocations[-1]
        self.results.send(Result(invocation.id, case.return_code, task_state=case.task_state))
        deadline_s = time.monotonic() + 20
        while len(self.results):
            assert time.monotonic() < deadline_s
            self.loop()
        with create_session() as session:
            state = session.scalar(
                select(TaskInstance.state).where(TaskInstance.task_id == case.name)
            )
            mismatches = session.scalars(
                select(Log.extra).where(Log.task_id == case.name, Log.event == "state mismatch")
            ).all()
        return {
            "name": case.name,
            "state": state,
            "mismatches": len(mismatches),
            "slots": self.executor.slots_available,
        }


if __name__ == "__main__":
    create_database()
    scheduler = Scheduler()
    for line in sys.stdin:
        print(json.dumps(scheduler.run(Case(**json.loads(line)))), flush=True)  # noqa: T201 - read by the test
    scheduler.executor.terminate()
