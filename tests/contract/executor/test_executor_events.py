"""The reason of a failure reaches Airflow's event log, through Airflow's own saving of it."""

from __future__ import annotations

import gc
from pathlib import Path

from airflow.jobs.scheduler_job_runner import SchedulerJobRunner
from airflow.models.log import Log
from airflow.models.taskinstancekey import TaskInstanceKey
from sqlalchemy import create_engine, select
from sqlalchemy.orm import Session

from lambda_executor import LambdaExecutor


def key(number: int) -> TaskInstanceKey:
    """A task's key."""
    return TaskInstanceKey("dag", f"task-{number}", "run", 1, -1)


def test_reasons_reach_airflows_event_log(tmp_path: Path) -> None:
    """Airflow saves them from a generator that nobody holds: each must outlive it."""
    engine = create_engine(f"sqlite:///{tmp_path / 'airflow.db'}")
    Log.__table__.create(engine)
    executor = LambdaExecutor(parallelism=1)
    expected = []
    for loop in range(3):
        for number in range(2):
            reason = f"reason {loop}-{number}"
            executor.log_task_event(event="lambda executor", extra=reason, ti_key=key(number))
            expected.append(("lambda executor", f"task-{number}", reason))
        gc.collect()
        with Session(engine) as session:
            SchedulerJobRunner._process_task_event_logs(executor._task_event_logs, session)
            session.commit()
    with Session(engine) as session:
        saved = session.execute(select(Log.event, Log.task_id, Log.extra).order_by(Log.id))
        assert sorted(map(tuple, saved)) == sorted(expected)
    engine.dispose()
