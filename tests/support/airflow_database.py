"""Airflow's own tables in a file, as the commands read them."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from airflow.executors import executor_loader
from airflow.jobs.job import Job
from airflow.models import import_all_models
from airflow.models.base import Base
from airflow.models.dag import DagModel
from airflow.models.dagrun import DagRun
from airflow.models.log import Log
from airflow.models.pool import Pool
from airflow.models.taskinstance import TaskInstance
from sqlalchemy import create_engine, insert
from sqlalchemy.engine import Engine
from sqlalchemy.orm import sessionmaker

from lambda_executor.contract.names import EXECUTOR
from lambda_executor.ops import tasks
from lambda_executor.scheduler import signature

#: The table of earlier tries; since Airflow 3.4 they are in that of the newest ones.
HISTORY = "task_instance_history"
#: What the commands read.
MODELS = (TaskInstance, DagRun, DagModel, Pool, Log, Job)


@pytest.fixture
def database(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Engine]:
    """The tables of tasks, runs, events, schedulers and DAGs, in which the executor is ours."""
    monkeypatch.setenv("AIRFLOW__CORE__EXECUTOR", EXECUTOR)
    # What is read from the configuration once per process stays out of other tests.
    monkeypatch.setattr(executor_loader, "_executor_names", [])
    monkeypatch.setattr(
        executor_loader, "_team_name_to_executors", defaultdict(list), raising=False
    )
    import_all_models()  # type: ignore[no-untyped-call]
    engine = create_engine(f"sqlite:///{tmp_path / 'airflow.db'}")
    tables = [model.__table__ for model in MODELS]
    if HISTORY in Base.metadata.tables:
        tables.append(Base.metadata.tables[HISTORY])
    Base.metadata.create_all(engine, tables=tables)
    for module in (tasks, signature):
        monkeypatch.setattr(module, "create_session", sessionmaker(engine).begin)
    yield engine
    engine.dispose()


def add_scheduler(
    database: Engine, *, executor_class: str | None = EXECUTOR, silent_s: float = 0
) -> int:
    """A scheduler whose last heartbeat was some seconds ago; returns its id."""
    with database.begin() as connection:
        answer = connection.execute(
            insert(Job).values(
                job_type="SchedulerJob",
                state="running",
                hostname="host-a",
                executor_class=executor_class,
                latest_heartbeat=datetime.now(UTC) - timedelta(seconds=silent_s),
            )
        )
    (id,) = answer.inserted_primary_key or (0,)
    return int(id)


def add_dag(database: Engine, path: str, *, is_stale: bool = False) -> None:
    """A DAG that the DAG processor has found in a file."""
    row = {
        "dag_id": path,
        "bundle_name": "dags-folder",
        "relative_fileloc": path,
        "fileloc": f"/dags/{path}",
        "is_stale": is_stale,
        "timetable_type": "",  # Airflow 3.1 has it not yet.
        "max_active_tasks": 16,
        "max_consecutive_failed_dag_runs": 0,
        "has_task_concurrency_limits": False,
    }
    known = DagModel.__table__.columns.keys()
    with database.begin() as connection:
        connection.execute(
            insert(DagModel).values({name: row[name] for name in row if name in known})
        )
