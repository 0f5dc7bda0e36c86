"""What a local run copies from Airflow's real database, and what it says of what it does not."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from airflow.models import import_all_models
from airflow.models.base import Base
from airflow.models.connection import Connection
from airflow.models.variable import Variable
from sqlalchemy import create_engine, event, insert, select
from sqlalchemy.engine import Engine
from sqlalchemy.exc import SQLAlchemyError

from lambda_executor.ops.local_run import real_database
from lambda_executor.ops.local_run.real_database import RealDatabase, copy_settings

HAS_TEAMS = "team_name" in Connection.__table__.c


def database(file: Path) -> Engine:
    """A database with Airflow's tables."""
    engine = create_engine(f"sqlite:///{file}")
    import_all_models()  # type: ignore[no-untyped-call]
    Base.metadata.create_all(engine)
    return engine


@pytest.fixture
def real(tmp_path: Path) -> Iterator[Engine]:
    """The real one, with a connection and a variable."""
    engine = database(tmp_path / "a real database.db")
    of_team = {"team_name": "no team of this run"} if HAS_TEAMS else {}
    with engine.begin() as connection:
        connection.execute(insert(Connection).values(conn_id="c", conn_type="http", **of_team))
        connection.execute(insert(Variable).values(key="v", val="plain"))
    yield engine
    engine.dispose()


@pytest.fixture
def own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Engine]:
    """The run's own, with foreign keys, as Airflow has it."""
    engine = database(tmp_path / "own.db")
    event.listen(engine, "connect", lambda opened, _: opened.execute("PRAGMA foreign_keys=ON"))
    engine.dispose()

    @contextmanager
    def session() -> Iterator[Any]:
        with engine.begin() as connection:
            yield connection

    monkeypatch.setattr(real_database, "create_session", session)
    yield engine
    engine.dispose()


def stored(own: Engine) -> tuple[list[Any], list[Any]]:
    """The ids of connections, and the keys of variables."""
    with own.connect() as connection:
        ids = connection.scalars(select(Connection.__table__.c.conn_id))
        return list(ids), list(connection.scalars(select(Variable.__table__.c.key)))


def test_what_our_own_database_refuses_is_not_put_down_to_the_real_one(
    real: Engine, own: Engine
) -> None:
    """Such as a connection of a team; the variables are copied nevertheless."""
    notes = list(copy_settings(RealDatabase(str(real.url))))
    if HAS_TEAMS:
        refused, copied = notes
        assert refused.startswith("the connections were read, but this run's database refuses them")
        assert copied == "1 variables are from Airflow's database"
        assert stored(own) == ([], ["v"])
    else:
        assert notes == ["1 connections and 1 variables are from Airflow's database"]
        assert stored(own) == (["c"], ["v"])


def test_settings_of_which_a_part_cannot_be_read_are_not_copied(real: Engine, own: Engine) -> None:
    """What the note says is then true of both."""
    Variable.__table__.drop(real)
    (note,) = copy_settings(RealDatabase(str(real.url)))
    assert note.startswith("no connections and variables from Airflow's database, which says:")
    assert "no such table: variable" in note
    assert stored(own) == ([], [])


def test_the_real_database_cannot_be_written_to(real: Engine) -> None:
    """SQLite refuses."""
    with (
        RealDatabase(str(real.url)).connection() as connection,
        pytest.raises(SQLAlchemyError, match="readonly"),
    ):
        connection.execute(insert(Variable).values(key="w", val="plain"))
