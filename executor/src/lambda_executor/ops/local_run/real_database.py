"""Copies from Airflow's real database what a task may read, and never writes to it.

The connections and variables are copied as they are, encrypted by the same Fernet key.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any

from airflow.models.connection import Connection
from airflow.models.dagrun import DagRun
from airflow.models.variable import Variable
from airflow.models.xcom import XComModel
from airflow.utils.session import create_session
from sqlalchemy import create_engine, select
from sqlalchemy.exc import SQLAlchemyError

from lambda_executor.contract.errors import LocalRunError
from lambda_executor.ops.local_run import xcoms

#: Which columns of a run say when it runs; the last two are in Airflow since 3.2.
_DATES = (
    *("logical_date", "data_interval_start", "data_interval_end", "run_after", "run_type"),
    *("partition_key", "partition_date"),
)


@dataclass(frozen=True, slots=True)
class RealRun:
    """What a run has from Airflow's database."""

    conf: str | None = None
    notes: tuple[str, ...] = ()
    dates: Mapping[str, Any] = field(default_factory=dict)
    xcoms: Sequence[dict[str, Any]] = field(default_factory=list)

    def copy_dates(self, run: DagRun) -> None:
        """Give a run of our own database the dates of this one, which has another run id.

        Airflow would infer the data interval of a manual run, which differs from a scheduled one.
        """
        for name, value in self.dates.items():
            setattr(run, name, value)

    def copy_xcoms(self, run: DagRun, session: Any) -> None:  # noqa: ANN401 - SQLAlchemy's
        """Give a run of our own database the XComs of this one, but for those of unknown tasks."""
        for xcom in self.xcoms:
            with suppress(ValueError):  # Our run has not expanded this mapped task.
                xcoms.store(run, session=session, **xcom)


def copy_settings(url: str | None) -> tuple[str, ...]:
    """Copy connections and variables; returns what a person should know.

    Args:
        url: Of the real database; None: copy nothing.
    """
    if url is None:
        return ()
    try:
        counts = [_copied(url, model) for model in (Connection, Variable)]
    except SQLAlchemyError as e:
        why = str(e).partition("\n")[0]
        return (f"no connections and variables from Airflow's database, which says: {why}",)
    return ("{} connections and {} variables are from Airflow's database".format(*counts),)


def run(url: str | None, dag: str, run_id: str | None) -> RealRun:
    """Read a run with its XComs; nothing without a run.

    Raises:
        LocalRunError: There is no such run.
    """
    if run_id is None or url is None:
        return RealRun()
    columns = (XComModel.task_id, XComModel.key, XComModel.map_index, XComModel.value)
    table = DagRun.__table__
    dates = [table.c[name] for name in _DATES if name in table.c]
    engine = create_engine(url)
    try:
        with engine.connect() as connection:
            found = connection.execute(
                select(table.c.conf, *dates).where(table.c.dag_id == dag, table.c.run_id == run_id)
            ).one_or_none()
            rows = connection.execute(
                select(*columns).where(XComModel.dag_id == dag, XComModel.run_id == run_id)
            )
            names = ("task", "key", "map_index", "value")
            found_xcoms = [dict(zip(names, row, strict=True)) for row in rows]
    except SQLAlchemyError as e:
        why = str(e).partition("\n")[0]
        raise LocalRunError(
            f"the run {run_id!r} cannot be read from Airflow's database: {why}"
        ) from e
    finally:
        engine.dispose()
    if found is None:
        raise LocalRunError(f"Airflow's database has no run {run_id!r} of the DAG {dag!r}")
    conf, *values = found
    what = f"dates, conf and {len(found_xcoms)} XComs"
    return RealRun(
        json.dumps(conf) if conf else None,
        (f"{what} are those of {run_id}, but for options",),
        {column.name: value for column, value in zip(dates, values, strict=True)},
        found_xcoms,
    )


def _copied(url: str, model: Any) -> int:  # noqa: ANN401 - a model of Airflow's
    table = model.__table__
    engine = create_engine(url)
    try:
        with engine.connect() as connection:
            rows = [dict(row) for row in connection.execute(select(table)).mappings()]
    finally:
        engine.dispose()
    if rows:
        with create_session() as session:
            session.execute(table.insert(), rows)
    return len(rows)
