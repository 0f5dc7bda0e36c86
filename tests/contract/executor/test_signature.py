"""The executor signs its scheduler's row of Airflow's table of jobs, on every supported minor."""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest
from airflow import settings
from airflow.utils.session import create_session
from sqlalchemy import Engine, event, select

from lambda_executor import LambdaExecutor
from lambda_executor.contract.names import EXECUTOR
from lambda_executor.scheduler import signature
from lambda_executor.scheduler.signature import sign
from tests.support.account import Account
from tests.support.airflow_database import add_scheduler
from tests.support.handler_process import ROOT
from tests.support.minors import VENVS, python_of

#: A scheduler's row as Airflow makes it, signed as our executor does, after two heartbeats.
_LIVE = """
import json
from airflow.jobs.job import Job
from airflow.models import import_all_models
from airflow.models.base import Base
from airflow.settings import engine
from airflow.utils.session import create_session
from sqlalchemy import select
from airflow.models.dag import DagModel
from lambda_executor.ops.doctor import installation
from lambda_executor.scheduler.signature import sign

import_all_models()
Base.metadata.create_all(engine, tables=[Job.__table__, DagModel.__table__])
job = Job(job_type="SchedulerJob", heartrate=0)
job.prepare_for_execution()
with create_session() as session:
    unsigned = session.scalar(select(Job.executor_class).where(Job.id == job.id))
sign(job.id)
for _ in range(2):
    job.heartbeat(lambda session: None)
with create_session() as session:
    row = session.execute(select(Job.executor_class, Job.state).where(Job.id == job.id)).one()
(live,) = installation.live_schedulers()
found = [live.runs_ours, installation.dag_files(), installation.executors()]
print("\\n" + json.dumps([unsigned, *row, *found]))
"""


@pytest.mark.parametrize("minor", list(VENVS))
def test_airflow_leaves_the_column_to_us(minor: str, tmp_path: Path) -> None:
    """It is empty without us, and what we write outlives the scheduler's heartbeats.

    The doctor reads it, the DAG files and the executors with every version.
    """
    done = subprocess.run(
        [python_of(minor), "-c", _LIVE],
        env={
            "AIRFLOW_HOME": str(tmp_path),
            "AIRFLOW__CORE__EXECUTOR": f"LocalExecutor,{EXECUTOR}",
            "AIRFLOW__DATABASE__SQL_ALCHEMY_CONN": f"sqlite:///{tmp_path / 'airflow.db'}",
            "PATH": os.environ["PATH"],
            "PYTHONPATH": str(ROOT / "executor/src"),
        },
        capture_output=True,
        check=True,
        text=True,
    )
    local = "airflow.executors.local_executor.LocalExecutor"
    answer = json.loads(done.stdout.splitlines()[-1])
    assert answer[:3] == [None, EXECUTOR, "running"]
    assert answer[3:] == [True, {}, [local, EXECUTOR]]


def signed(database: Engine, job_id: int) -> str | None:
    """What is written into a scheduler's row."""
    from airflow.jobs.job import Job  # noqa: PLC0415 - after the fixture has made its tables

    with database.connect() as connection:
        return connection.scalar(select(Job.executor_class).where(Job.id == job_id))


def test_a_started_executor_has_signed(account: Account, database: Engine) -> None:
    """Only the row of its own scheduler."""
    account.write_parameter()
    own, other = (add_scheduler(database, executor_class=None) for _ in range(2))
    executor = LambdaExecutor(parallelism=1)
    executor.job_id = own
    executor.start()
    try:
        assert (signed(database, own), signed(database, other)) == (EXECUTOR, None)
    finally:
        executor.terminate()


def refuse_writes(database: Engine, _: pytest.MonkeyPatch) -> None:
    """Make the database read-only."""
    event.listen(
        database, "engine_connect", lambda one: one.exec_driver_sql("PRAGMA query_only = 1")
    )


def take_sessions_away(_: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    """Airflow's own `create_session`, in a process whose settings have no session."""
    monkeypatch.setattr(signature, "create_session", create_session)
    monkeypatch.setattr(settings, "Session", None)


@pytest.mark.parametrize("spoil", [refuse_writes, take_sessions_away])
def test_an_executor_that_cannot_sign_starts(
    account: Account,
    database: Engine,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    spoil: Callable[[Engine, pytest.MonkeyPatch], None],
) -> None:
    """A line in the log says that the doctor will not see it."""
    account.write_parameter()
    executor = LambdaExecutor(parallelism=1)
    executor.job_id = add_scheduler(database, executor_class=None)
    spoil(database, monkeypatch)
    executor.start()
    try:
        assert executor.engine is not None
        assert f"The doctor will not see that this scheduler runs {EXECUTOR}" in caplog.text
    finally:
        executor.terminate()


def test_an_executor_without_a_row_starts(database: Engine) -> None:
    """Nothing depends on the signature but what the doctor says."""
    database.dispose()
    for job_id in (None, "unknown", 4711):
        sign(job_id)
