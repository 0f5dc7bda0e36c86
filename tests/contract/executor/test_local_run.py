"""The Airflow of a run on a developer's machine: it serves one task, and changes no other database.

Airflow's own client asks it, as a task's supervisor does.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from airflow.models import import_all_models
from airflow.models.base import Base
from airflow.models.connection import Connection
from airflow.models.dagrun import DagRun
from airflow.models.variable import Variable
from airflow.models.xcom import XComModel
from airflow.sdk.api.client import Client
from sqlalchemy import Table, create_engine, func, insert, select

from lambda_executor.ops.terminal import Say
from tests.support.local_run import DAGS, airflow

#: What a task can see of a run of a schedule. It has another interval than one of this date that a
#: person starts.
SCHEDULED: dict[str, Any] = {
    "run_type": "scheduled",
    "logical_date": datetime(2026, 11, 1, tzinfo=UTC),
    "data_interval_start": datetime(2026, 11, 1, tzinfo=UTC),
    "data_interval_end": datetime(2026, 11, 2, tzinfo=UTC),
    "run_after": datetime(2026, 11, 2, tzinfo=UTC),
}
MODELS: tuple[Any, ...] = (Connection, Variable, DagRun)
#: Since Airflow 3.4 an XCom is in several tables.
HAS_ONE_TABLE = isinstance(XComModel.__table__, Table)


@pytest.fixture
def real(tmp_path: Path) -> str:
    """Airflow's real database, in which there is one of each."""
    url = f"sqlite:///{tmp_path / 'real.db'}"
    engine = create_engine(url)
    import_all_models()  # type: ignore[no-untyped-call]
    Base.metadata.create_all(engine)
    with engine.begin() as connection:
        connection.execute(insert(Connection).values(conn_id="c", conn_type="http", host="example"))
        connection.execute(insert(Variable).values(key="v", val="plain"))
        of_run = {"dag_id": "daily", "run_id": "manual__1"}
        run = {"run_type": "manual", "run_after": datetime.now(UTC), "conf": {"day": 3}}
        connection.execute(insert(DagRun).values(id=8, log_template_id=1, **of_run, **run))
        of_run["run_id"] = "scheduled__1"
        connection.execute(insert(DagRun).values(id=9, log_template_id=1, **of_run, **SCHEDULED))
        of_run["run_id"] = "manual__1"
        if HAS_ONE_TABLE:
            of_task = {"task_id": "listed", "dag_run_id": 8, "map_index": -1}
            connection.execute(insert(XComModel).values(**of_run, **of_task, key="rows", value=7))
    engine.dispose()
    return url


@pytest.fixture
def said(tmp_path: Path) -> Iterator[Say]:
    """A terminal."""
    with (tmp_path / "said").open("w", encoding="utf-8") as answers:
        yield Say(answers)


def test_a_task_gets_what_it_asks_for(tmp_path: Path, said: Say, real: str) -> None:
    """What its upstream task returned, and from the real database settings and another run."""
    more: dict[str, Any] = {"map_index": 1, "xcoms": {"listed": [5, 6]}, "real_run": "manual__1"}
    with airflow(tmp_path, said, real_database=real, **more) as side:
        workload = json.loads(side.answer["workload"])
        ti = workload["ti"]
        assert (ti["task_id"], ti["map_index"], ti["try_number"]) == ("each", 1, 1)
        assert (workload["dag_rel_path"], side.answer["queue"]) == ("daily.py", "default")
        assert side.answer["notes"] == [
            "1 connections and 1 variables are from Airflow's database",
            f"dates, conf and {HAS_ONE_TABLE:d} XComs are those of manual__1, but for options",
        ]
        client = Client(base_url=side.answer["url"], token=workload["token"])
        # Without it a server that is newer than Airflow 3.0 refuses its client's bodies.
        client.headers["Content-Type"] = "application/json"
        context = client.task_instances.start(ti["id"], 1, datetime.now(UTC))
        assert (context.dag_run.conf, context.max_tries) == ({"day": 3}, 2)
        assert client.xcoms.get("daily", "lambda_run__1", "listed", "return_value").value == [5, 6]
        if HAS_ONE_TABLE:
            assert client.xcoms.get("daily", "lambda_run__1", "listed", "rows").value == 7
        assert client.connections.get("c").host == "example"
        assert client.variables.get("v").value == "plain"
        client.close()
        assert side.state() == "running"
    engine = create_engine(real)
    with engine.connect() as connection:
        counts = [
            connection.scalar(select(func.count()).select_from(model.__table__)) for model in MODELS
        ]
    engine.dispose()
    assert counts == [1, 1, 2]


def test_a_task_of_another_run_gets_its_dates(tmp_path: Path, said: Say, real: str) -> None:
    """A manual run of the same logical date would have another data interval."""
    daily = DAGS.replace("schedule=None", "schedule='@daily', start_date=datetime(2026, 1, 1)")
    daily = f"from datetime import datetime\n{daily}"
    asked = {"task": "listed", "real_database": real, "real_run": "scheduled__1"}
    with airflow(tmp_path, said, daily, **asked) as side:
        workload = json.loads(side.answer["workload"])
        client = Client(base_url=side.answer["url"], token=workload["token"])
        client.headers["Content-Type"] = "application/json"
        run = client.task_instances.start(workload["ti"]["id"], 1, datetime.now(UTC)).dag_run
        client.close()
    assert {name: getattr(run, name) for name in SCHEDULED} == SCHEDULED
    assert run.run_id == "lambda_run__1"
