"""Copies from Airflow's real database what a task may read, and never writes to it.

The connections and variables are copied as they are, encrypted by the same Fernet key.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from importlib import import_module
from typing import Any
from urllib.parse import quote

from airflow.models.connection import Connection
from airflow.models.dagrun import DagRun
from airflow.models.variable import Variable
from airflow.models.xcom import XComModel
from airflow.utils.session import create_session
from sqlalchemy import create_engine, select
from sqlalchemy.engine import URL, make_url
from sqlalchemy.exc import SQLAlchemyError

from lambda_executor.contract.errors import LocalRunError
from lambda_executor.ops.local_run import xcoms

SETTINGS: dict[str, Any] = {"connections": Connection.__table__, "variables": Variable.__table__}
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


@dataclass(frozen=True, slots=True)
class RealDatabase:
    """Airflow's real database.

    Attributes:
        url: Its URL.
        connect_args: Where the arguments for its driver can be imported from
            (`sql_alchemy_connect_args`); None: there are none.
    """

    url: str
    connect_args: str | None = None

    @contextmanager
    def connection(self) -> Iterator[Any]:
        """A connection of SQLAlchemy.

        Raises:
            SQLAlchemyError: There is none.
        """
        module, _, name = (self.connect_args or "").rpartition(".")
        arguments = getattr(import_module(module), name) if module else {}
        engine = create_engine(_read_only(make_url(self.url)), connect_args=arguments)
        try:
            with engine.connect() as connection:
                yield connection
        finally:
            engine.dispose()

    def settings(self) -> dict[str, list[dict[str, Any]]]:
        """Read the rows of `SETTINGS`, by their names.

        Raises:
            SQLAlchemyError: They cannot be read.
        """
        with self.connection() as connection:
            return {
                name: [dict(row) for row in connection.execute(select(table)).mappings()]
                for name, table in SETTINGS.items()
            }

    def run(self, dag: str, run_id: str) -> RealRun:
        """Read a run with its XComs.

        Raises:
            LocalRunError: There is no such run, or it cannot be read.
        """
        columns = (XComModel.task_id, XComModel.key, XComModel.map_index, XComModel.value)
        table = DagRun.__table__
        dates = [table.c[name] for name in _DATES if name in table.c]
        try:
            with self.connection() as connection:
                found = connection.execute(
                    select(table.c.conf, *dates).where(
                        table.c.dag_id == dag, table.c.run_id == run_id
                    )
                ).one_or_none()
                rows = connection.execute(
                    select(*columns).where(XComModel.dag_id == dag, XComModel.run_id == run_id)
                )
                names = ("task", "key", "map_index", "value")
                found_xcoms = [dict(zip(names, row, strict=True)) for row in rows]
        except SQLAlchemyError as e:
            raise LocalRunError(
                f"the run {run_id!r} cannot be read from Airflow's database: {_why(e)}"
            ) from e
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


def copy_settings(real: RealDatabase) -> Iterator[str]:
    """Copy connections and variables into our own database; yields what a person should know."""
    try:
        settings = real.settings()
    except SQLAlchemyError as e:
        yield f"no connections and variables from Airflow's database, which says: {_why(e)}"
        return
    stored = []
    for name, rows in settings.items():
        try:
            if rows:
                with create_session() as session:
                    session.execute(SETTINGS[name].insert(), rows)
        except SQLAlchemyError as e:
            yield f"the {name} were read, but this run's database refuses them: {_why(e)}"
        else:
            stored.append(f"{len(rows)} {name}")
    if stored:
        yield f"{' and '.join(stored)} are from Airflow's database"


def _read_only(url: URL) -> URL:
    """The same database; SQLite would make a file that is missing."""
    file = url.database
    if url.get_backend_name() != "sqlite" or not file or file.startswith((":memory:", "file:")):
        return url
    query = {**url.query, "mode": "ro", "uri": "true"}
    return url.set(database=f"file:{quote(file)}", query=query)


def _why(error: SQLAlchemyError) -> str:
    """The first line: the others have the statement with its values."""
    return str(error).partition("\n")[0]
