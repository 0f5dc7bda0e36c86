"""Tries that run out of time, with Airflow's own tables and its own steps to the retry.

It is a program, because every minor version of Airflow runs it in its own venv. Each line of its
input is a case; it prints what became of it.
"""

from __future__ import annotations

import json
import sys
import uuid
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

from airflow import settings
from airflow.models import import_all_models
from airflow.models.base import Base
from airflow.models.dagrun import DagRun
from airflow.models.log import Log
from airflow.models.taskinstance import TaskInstance
from airflow.sdk import DAG, BaseOperator
from airflow.serialization import serialized_objects
from airflow.utils.session import create_session
from airflow.utils.state import TaskInstanceState
from sqlalchemy import select

from lambda_executor import LambdaExecutor
from lambda_executor.contract.routing_reason import routed
from lambda_executor.core.offers import Offer
from lambda_executor.scheduler.airflow_port import LONGEST_END_S, AirflowPort
from lambda_executor.scheduler.keys import task_key
from lambda_executor.scheduler.state import DatabaseState
from lambda_executor.scheduler.version import AIRFLOW

if AIRFLOW >= (3, 4):  # Each try has a row of its own.
    History: Any = TaskInstance
else:
    from airflow.models.taskinstancehistory import TaskInstanceHistory as History

OFFERS = (
    Offer("default", timeout_s=900, memory_mb=1769),
    Offer("large", timeout_s=900, memory_mb=10240),
    Offer("day", timeout_s=86400, memory_mb=8192),
    Offer("endless", memory_mb=16384),
)


@dataclass(frozen=True)
class Case:
    """A try that ran out of time.

    Attributes:
        name: The task's id.
        order: What happens: `result`, the executor receives it; `end`, Airflow stores the end;
            `step`, the executor's next step; `scheduled` and so on, those to the next try.
        queue: The task's queue.
        config: Our part of its `executor_config`.
        retries: How many retries it has.
    """

    name: str
    order: list[str]
    queue: str = "default"
    config: dict[str, Any] = field(default_factory=lambda: {"on_deadline": "next_target"})
    retries: int = 2


class Airflow:
    """One run of one DAG, and an executor."""

    def __init__(self) -> None:
        import_all_models()  # type: ignore[no-untyped-call]
        Base.metadata.create_all(settings.engine)
        self.executor = LambdaExecutor(parallelism=4)
        self.now_s = 0.0
        self.port = AirflowPort(self.executor, DatabaseState(), OFFERS, clock=lambda: self.now_s)

    def run(self, case: Case) -> dict[str, Any]:
        """Let a try run out of time; return what became of the next one."""
        dag = DAG(case.name, schedule=None, start_date=datetime(2026, 1, 1, tzinfo=UTC))
        BaseOperator(
            task_id=case.name,
            queue=case.queue,
            retries=case.retries,
            executor_config={"lambda_executor": case.config, "pod": 1} if case.config else {},
            dag=dag,
        )
        name = "DagSerialization" if AIRFLOW >= (3, 2) else "SerializedDAG"
        serialization = getattr(serialized_objects, name)
        self.dag = serialization.from_dict(serialization.to_dict(dag))
        self.task_id = case.name
        with create_session() as session:
            now = datetime.now(tz=UTC)
            run = DagRun(dag_id=case.name, run_id="run", run_type="manual", run_after=now)
            session.add(run)
            session.flush()
            task = self.dag.get_task(case.name)
            row = TaskInstance(task, run_id="run", dag_version_id=None)
            row.try_number, row.max_tries, row.state = 1, case.retries, TaskInstanceState.RUNNING
            row.start_date = now
            session.add(row)
            session.flush()
            self.key = task_key(row.id, row.key)
        for step in case.order:
            getattr(self, step)()
        with create_session() as session:
            row = self._current(session)
            events = session.scalars(select(Log.extra).where(Log.task_id == case.name)).all()
            return {
                "name": case.name,
                "state": row.state,
                "try_number": row.try_number,
                "queue": row.queue,
                "executor_config": row.executor_config,
                "events": [*events, *self._new_events()],
                "first": self._first(session),
            }

    # ---- the steps ----

    def result(self) -> None:
        """The executor receives the result."""
        self.port.out_of_time([self.key])

    def step(self) -> None:
        """The executor hears of nothing else."""
        self.port.out_of_time([])

    def minutes(self) -> None:
        """Some minutes pass."""
        self.now_s += 10 * LONGEST_END_S

    def end(self) -> None:
        """The API server stores the end of the try, which has a retry."""
        with create_session() as session:
            row = self._current(session)
            row.task = self.dag.get_task(self.task_id)
            row.state = TaskInstanceState.UP_FOR_RETRY
            row.end_date = datetime.now(tz=UTC)
            session.flush()
            row.prepare_db_for_next_try(session)

    def fail(self) -> None:
        """The API server stores the end of the last try."""
        with create_session() as session:
            self._current(session).state = TaskInstanceState.FAILED

    def parsed(self) -> None:
        """The DAG has a new version, and the scheduler compares the run with it."""
        with create_session() as session:
            run = session.scalars(select(DagRun).where(DagRun.dag_id == self.task_id)).one()
            run.dag = self.dag
            run.verify_integrity(session=session, dag_version_id=uuid.uuid4())

    def scheduled(self) -> None:
        """The scheduler finds that the retry may run."""
        with create_session() as session:
            row = self._current(session)
            row.task = self.dag.get_task(self.task_id)
            row.dag_run.dag = self.dag
            row.dag_run.schedule_tis([row], session=session)

    def queued_only(self) -> None:
        """The scheduler queues the retry."""
        with create_session() as session:
            self._current(session).state = TaskInstanceState.QUEUED

    def queued(self) -> None:
        """The scheduler queues the retry, and its try runs."""
        with create_session() as session:
            row = self._current(session)
            row.state = TaskInstanceState.RUNNING
            self.key = task_key(row.id, row.key)

    def cleared(self) -> None:
        """A person clears the task: Airflow copies what the DAG file says."""
        with create_session() as session:
            row = self._current(session)
            row.state = None
            row.refresh_from_task(self.dag.get_task(self.task_id))

    def _first(self, session: Any) -> list[list[str]]:
        """What Airflow's history says of the first try: its queue, and why it went there."""
        query = select(History).where(History.task_id == self.task_id, History.try_number == 1)
        tries = session.scalars(query.execution_options(include_all_attempts=True)).all()
        return [[row.queue, routed(row.executor_config)] for row in tries]

    def _current(self, session: Any) -> Any:
        rows = session.scalars(
            select(TaskInstance)
            .where(TaskInstance.task_id == self.task_id)
            .order_by(TaskInstance.try_number)
        ).all()
        return rows[-1]

    def _new_events(self) -> list[str]:
        events = [log.extra or "" for log in self.executor._task_event_logs]
        self.executor._task_event_logs.clear()
        return events


if __name__ == "__main__":
    airflow = Airflow()
    for line in sys.stdin:
        print(json.dumps(airflow.run(Case(**json.loads(line)))), flush=True)  # noqa: T201 - read by the test
