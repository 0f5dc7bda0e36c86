"""For whose end Airflow waits, by the dispatch ids in messages, on each minor version."""

from __future__ import annotations

import uuid
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from airflow.executors import executor_loader
from airflow.models import import_all_models
from airflow.models.base import Base
from airflow.models.taskinstance import TaskInstance
from sqlalchemy import create_engine, event, insert
from sqlalchemy.engine import Engine
from sqlalchemy.orm import sessionmaker

from lambda_executor.contract.names import EXECUTOR
from lambda_executor.contract.wire import MAX_KEY_CHARS, InvocationId
from lambda_executor.scheduler import state as airflow_state
from lambda_executor.scheduler.state import ID_STORED, DatabaseState
from lambda_executor.scheduler.version import AIRFLOW

NOW = datetime.now(tz=UTC)
LONG_AGO = NOW - 2 * ID_STORED
#: What nobody waits for; no database takes some of these as text.
FORGED = frozenset(map(InvocationId, ("nobody", "\0", "\ud800", "x" * MAX_KEY_CHARS)))

needs_callbacks = pytest.mark.skipif(AIRFLOW < (3, 3), reason="executors get none before 3.3")


@pytest.fixture
def database(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Engine]:
    """Airflow's own tables; our executor is the only one."""
    set_executors(monkeypatch, EXECUTOR)
    import_all_models()  # type: ignore[no-untyped-call]
    engine = create_engine(f"sqlite:///{tmp_path / 'airflow.db'}")
    Base.metadata.create_all(engine)
    monkeypatch.setattr(airflow_state, "create_session", sessionmaker(engine))
    yield engine
    engine.dispose()


def set_executors(monkeypatch: pytest.MonkeyPatch, executors: str) -> None:
    """Set `[core] executor`, which Airflow reads once per process."""
    monkeypatch.setenv("AIRFLOW__CORE__EXECUTOR", executors)
    monkeypatch.setattr(executor_loader, "_executor_names", [])


def store(database: Engine, state: str | None, id: str | None, **values: Any) -> None:
    """Store a task that was queued long ago."""
    row = {"queued_dttm": LONG_AGO, "pool": "default_pool", "pool_slots": 1, **values}
    names = {"dag_id": "dag", "task_id": str(uuid.uuid4()), "run_id": "run", "map_index": -1}
    with database.begin() as connection:
        connection.execute(
            insert(TaskInstance).values(
                state=state, external_executor_id=id, try_number=1, **names, **row
            )
        )


def awaited(*ids: str) -> set[str]:
    """Those of some invocations for whose end Airflow waits; it waits for none of `FORGED`."""
    found = DatabaseState().awaited({*FORGED, *map(InvocationId, ids)})
    assert found.isdisjoint(FORGED)
    return set(found)


def test_airflow_waits_for_what_is_queued_or_running_under_the_id(database: Engine) -> None:
    """It does not for what has ended, continues later, or is unknown; the ids may be any text."""
    states = ("queued", "running", "restarting", "success", "failed", "deferred", "scheduled", None)
    for state in states:
        store(database, state, f"id-{state}")
    ids = [f"id-{state}" for state in states]
    assert awaited(*ids, "unknown") == {"id-queued", "id-running", "id-restarting"}


def test_the_keys_of_the_reference_are_ids_too(database: Engine) -> None:
    """Its schedulers may run beside ours for the minutes of a migration."""
    key = '{"dag_id": "dag", "task_id": "t", "run_id": "run", "try_number": 1, "map_index": -1}'
    store(database, "running", key)
    assert awaited(key) == {key}


def test_two_queries_answer_for_any_number_of_ids(database: Engine) -> None:
    """Whoever sends forged messages costs the database nothing."""
    store(database, "running", "id")
    queries: list[str] = []
    event.listen(database, "before_cursor_execute", lambda *call: queries.append(call[2]))
    DatabaseState().awaited({InvocationId("id")})
    expected, queries[:] = len(queries), []
    ids = {InvocationId(f"forged-{number}") for number in range(5000)}
    assert DatabaseState().awaited({*ids, InvocationId("id")}) == {"id"}
    assert len(queries) == expected == (4 if AIRFLOW >= (3, 3) else 2)


def test_a_task_without_an_id_may_be_any(database: Engine) -> None:
    """Before Airflow 3.3 the scheduler stores the id with an event, and drops it if it must."""
    store(database, "running", None)
    assert DatabaseState().awaited(FORGED) == FORGED


@pytest.mark.parametrize(
    "values",
    [
        {"queued_dttm": NOW + timedelta(hours=1)},
        {"state": "success"},
        {"executor": "LocalExecutor"},
    ],
    ids=["just queued", "ended", "another executor's"],
)
def test_most_tasks_without_an_id_matter_to_nobody(
    database: Engine, monkeypatch: pytest.MonkeyPatch, values: dict[str, Any]
) -> None:
    """Those that were just queued have no result yet; others never get an id."""
    set_executors(monkeypatch, f"{EXECUTOR},LocalExecutor")
    store(database, **{"state": "running", "id": None, **values})
    assert awaited() == set()


def test_a_task_of_the_default_executor_is_ours_only_if_that_is_ours(
    database: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    """LocalExecutor stores no ids."""
    set_executors(monkeypatch, f"LocalExecutor,lambda:{EXECUTOR}")
    store(database, "running", None)
    assert awaited() == set()
    store(database, "running", None, executor="lambda")
    assert DatabaseState().awaited(FORGED) == FORGED


@needs_callbacks
def test_airflow_waits_for_callbacks_of_any_scheduler(database: Engine) -> None:
    """Their own id is their dispatch id."""
    from airflow.models.callback import Callback  # noqa: PLC0415 - not in every version

    ids = {state: uuid.uuid4() for state in ("queued", "running", "success", "scheduled")}
    with database.begin() as connection:
        for state, id in ids.items():
            connection.execute(
                insert(Callback).values(
                    id=id,
                    type="executor",
                    fetch_method="import_path",
                    data={},
                    priority_weight=1,
                    state=state,
                    created_at=NOW,
                )
            )
    expected = {str(ids[state]) for state in ("queued", "running")}
    assert awaited(*map(str, ids.values())) == expected


@needs_callbacks
@pytest.mark.parametrize(
    ("state", "may_be_any"), [("queued", True), ("running", True), ("success", False)]
)
def test_a_connection_test_may_be_any(database: Engine, state: str, *, may_be_any: bool) -> None:
    """The database does not have its dispatch id."""
    from airflow.models.connection_test import (  # noqa: PLC0415 - not in every version
        ConnectionTestRequest,
    )

    with database.begin() as connection:
        connection.execute(
            insert(ConnectionTestRequest).values(
                token="token", connection_id="some", conn_type="http", state=state
            )
        )
    assert DatabaseState().awaited(FORGED) == (FORGED if may_be_any else set())
