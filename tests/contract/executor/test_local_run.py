"""The Airflow of a run on a developer's machine: it serves one task, and changes no other database.

Airflow's own client asks it, as a task's supervisor does.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from airflow.models.connection import Connection
from airflow.models.variable import Variable
from airflow.sdk.api.client import Client
from airflow.version import version as airflow_version
from sqlalchemy import create_engine, func, insert, select

from lambda_executor.contract.errors import LocalRunError
from lambda_executor.ops.local_run.programs import AirflowSide
from lambda_executor.ops.terminal import Say

DAGS = """
from airflow.sdk import dag, task

@dag(schedule=None)
def daily():
    @task
    def listed():
        return [1, 2]
    @task(retries=2)
    def each(number):
        print(number)
    each.expand(number=listed())

daily()
"""


@pytest.fixture
def real(tmp_path: Path) -> str:
    """Airflow's real database, of which there is a connection and a variable."""
    url = f"sqlite:///{tmp_path / 'real.db'}"
    engine = create_engine(url)
    for model in (Connection, Variable):
        model.__table__.create(engine)
    with engine.begin() as connection:
        connection.execute(insert(Connection).values(conn_id="c", conn_type="http", host="example"))
        connection.execute(insert(Variable).values(key="v", val="plain"))
    engine.dispose()
    return url


@pytest.fixture
def said(tmp_path: Path) -> Iterator[Say]:
    """A terminal."""
    with (tmp_path / "said").open("w", encoding="utf-8") as answers:
        yield Say(answers)


def airflow(folder: Path, say: Say, dags: str = DAGS, **request: Any) -> AirflowSide:
    """The program, with one DAG file."""
    (folder / "dags").mkdir()
    (folder / "dags" / "daily.py").write_text(dags, encoding="utf-8")
    variables = {
        "AIRFLOW_HOME": str(folder),
        "AIRFLOW__API_AUTH__JWT_SECRET": "a secret of this test, " * 3,
        "AIRFLOW__CORE__DAGS_FOLDER": str(folder / "dags"),
        "AIRFLOW__CORE__LOAD_EXAMPLES": "False",
        "AIRFLOW__DATABASE__SQL_ALCHEMY_CONN": f"sqlite:///{folder / 'airflow.db'}",
        "AIRFLOW__LOGGING__BASE_LOG_FOLDER": str(folder / "logs"),
        "HOME": os.environ.get("HOME", str(folder)),
    }
    asked = {"dag": "daily", "task": "each", "run_id": "lambda_run__1", **request}
    return AirflowSide(folder, asked, variables, say)


def test_a_task_gets_what_it_asks_for(tmp_path: Path, said: Say, real: str) -> None:
    """Its conf, what its upstream task returned, and connections and variables of the real one."""
    more = {"map_index": 1, "conf": '{"day": 3}', "xcoms": {"listed": [5, 6]}}
    with airflow(tmp_path, said, real_database=real, **more) as side:
        workload = json.loads(side.answer["workload"])
        ti = workload["ti"]
        assert (ti["task_id"], ti["map_index"], ti["try_number"]) == ("each", 1, 1)
        assert (workload["dag_rel_path"], side.answer["queue"]) == ("daily.py", "default")
        assert side.answer["notes"] == ["1 connections and 1 variables are from Airflow's database"]
        client = Client(base_url=side.answer["url"], token=workload["token"])
        context = client.task_instances.start(ti["id"], 1, datetime.now(UTC))
        assert (context.dag_run.conf, context.max_tries) == ({"day": 3}, 2)
        assert client.xcoms.get("daily", "lambda_run__1", "listed", "return_value").value == [5, 6]
        assert client.connections.get("c").host == "example"  # type: ignore[union-attr]
        assert client.variables.get("v").value == "plain"  # type: ignore[union-attr]
        client.close()
        assert side.state() == "running"
    engine = create_engine(real)
    with engine.connect() as connection:
        counts = [
            connection.scalar(select(func.count()).select_from(model.__table__))
            for model in (Connection, Variable)
        ]
    engine.dispose()
    assert counts == [1, 1], airflow_version


def test_an_unknown_task_is_refused_with_the_known_ones(tmp_path: Path, said: Say) -> None:
    """A database that is not there is only a note."""
    with (
        pytest.raises(LocalRunError, match="has no task 'none', but each, listed"),
        airflow(tmp_path, said, task="none", real_database=f"sqlite:///{tmp_path / 'none.db'}"),
    ):
        pass


def test_a_broken_dag_file_is_named(tmp_path: Path, said: Say) -> None:
    """With the error of its import."""
    broken = "import a_module_that_is_not_there"
    with (
        pytest.raises(LocalRunError, match=r"daily\.py: ModuleNotFoundError: No module named"),
        airflow(tmp_path, said, broken),
    ):
        pass
