"""The executor's name in its scheduler's row of Airflow's table of jobs.

The doctor reads it, because nothing else in the database says which executors a scheduler runs:
Airflow 3 has the column `executor_class` and leaves it empty. The scheduler never writes it either.
"""

from __future__ import annotations

import logging

from airflow.jobs.job import Job
from airflow.utils.session import create_session
from sqlalchemy import update

from lambda_executor.contract.names import EXECUTOR

log = logging.getLogger(__name__)


def sign(job_id: int | str | None) -> None:
    """Write the name into the row of a scheduler; without a row, or a database, raise nothing."""
    if not str(job_id).isdecimal():
        return
    try:
        with create_session() as session:
            row = update(Job).where(Job.id == int(str(job_id)))
            session.execute(row.values(executor_class=EXECUTOR))
    except Exception as e:  # noqa: BLE001 - only the doctor depends on it
        log.warning("The doctor will not see that this scheduler runs %s: %s", EXECUTOR, e)
