"""Reads what the doctor has to know about this Airflow: executors, live schedulers, DAG files."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from airflow.configuration import conf
from airflow.executors.executor_loader import ExecutorLoader
from airflow.jobs.job import Job
from airflow.models.dag import DagModel
from sqlalchemy import select

from lambda_executor.contract.names import EXECUTOR
from lambda_executor.contract.probe import DagFiles
from lambda_executor.ops import tasks

#: The most DAG files that one probe asks for: with paths of 200 characters a tenth of what Lambda
#: takes as one event.
MOST_DAG_FILES = 3000


@dataclass(frozen=True, slots=True)
class LiveScheduler:
    """A scheduler with a recent heartbeat.

    Attributes:
        job_id: Airflow's id of the scheduler.
        runs_ours: Whether this executor signed its row (`scheduler.signature`).
    """

    job_id: int
    host: str
    runs_ours: bool


def executors() -> list[str]:
    """Return the module paths of `[core] executor` as this process reads it, the default first."""
    return [name.module_path for name in ExecutorLoader.get_executor_names()]


def live_schedulers() -> list[LiveScheduler]:
    """Return the schedulers that run at the moment, the newest first."""
    threshold_s = conf.getint("scheduler", "scheduler_health_check_threshold")
    query = (
        select(Job.id, Job.hostname, Job.executor_class)
        .where(
            Job.job_type == "SchedulerJob",
            Job.state == "running",
            Job.latest_heartbeat > datetime.now(UTC) - timedelta(seconds=threshold_s),
        )
        .order_by(Job.id.desc())
    )
    with tasks.airflow_session() as session:
        return [
            LiveScheduler(id, host or "an unknown host", signed == EXECUTOR)
            for id, host, signed in session.execute(query)
        ]


def dag_files() -> DagFiles:
    """Return the files of the DAGs that Airflow knows, by bundle; at most `MOST_DAG_FILES`."""
    query = (
        select(DagModel.bundle_name, DagModel.relative_fileloc)
        .where(DagModel.is_stale.is_(False), DagModel.relative_fileloc.is_not(None))
        .distinct()
        .order_by(DagModel.bundle_name, DagModel.relative_fileloc)
        .limit(MOST_DAG_FILES)
    )
    files: dict[str, list[str]] = {}
    with tasks.airflow_session() as session:
        for bundle, path in session.execute(query):
            files.setdefault(bundle or "dags-folder", []).append(str(path))
    return files
