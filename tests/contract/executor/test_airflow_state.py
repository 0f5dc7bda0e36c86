"""The state of workloads that the executor reads from Airflow's database."""

from __future__ import annotations

import uuid
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING
from unittest.mock import Mock

import pytest
from airflow.executors import executor_loader
from airflow.executors.executor_loader import ExecutorLoader
from airflow.executors.executor_utils import ExecutorName
from airflow.models import import_all_models
from airflow.models.base import Base
from airflow.models.callback import Callback, CallbackKey
from airflow.models.connection_test import ConnectionTestKey
from airflow.models.dag import DagModel
from airflow.models.dagbundle import DagBundleModel
from airflow.models.taskinstance import TaskInstance
from airflow.models.taskinstancekey import TaskInstanceKey
from airflow.models.team import Team, dag_bundle_team_association_table
from sqlalchemy import create_engine, event, insert, select
from sqlalchemy.orm import Session, sessionmaker

from lambda_executor import LambdaExecutor
from lambda_executor.contract.wire import InvocationId
from lambda_executor.scheduler import state as airflow_state
from lambda_executor.scheduler.keys import CHUNK, task_key
from lambda_executor.scheduler.state import DatabaseState
from tests.support.scheduler import Scheduler, started

if TYPE_CHECKING:
    from airflow.executors.workloads.types import WorkloadKey


TABLES = [
    *(model.__table__ for model in (TaskInstance, Callback, DagModel, DagBundleModel, Team)),
    dag_bundle_team_association_table,
]


def ti_id(number: int, try_number: int = 1) -> uuid.UUID:
    """The UUID of a task's try."""
    return uuid.UUID(int=10 * number + try_number)


def key(number: int, *, try_number: int = 1) -> WorkloadKey:
    """The key of a task's try."""
    names = TaskInstanceKey("dag", f"task-{number}", "run", try_number, -1)
    return task_key(ti_id(number, try_number), names)


@pytest.fixture
def database(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[sessionmaker[Session]]:
    """A database with Airflow's own table of task instances."""
    import_all_models()  # type: ignore[no-untyped-call]
    engine = create_engine(f"sqlite:///{tmp_path / 'airflow.db'}")
    Base.metadata.create_all(engine, tables=TABLES)
    sessions = sessionmaker(engine)
    monkeypatch.setattr(airflow_state, "create_session", sessions)
    yield sessions
    engine.dispose()


def store(database: sessionmaker[Session], **tasks: tuple[int, str | None, str | None]) -> None:
    """Store task instances: number, state and external executor id by anything."""
    with database.begin() as session:
        for number, state, external_id in tasks.values():
            session.execute(
                insert(TaskInstance).values(
                    id=ti_id(number),
                    dag_id="dag",
                    task_id=f"task-{number}",
                    run_id="run",
                    map_index=-1,
                    try_number=1,
                    pool="default_pool",
                    pool_slots=1,
                    state=state,
                    external_executor_id=external_id,
                )
            )


def test_airflow_waits_for_tasks_that_are_queued_or_running_under_our_id(
    database: sessionmaker[Session],
) -> None:
    """It also waits for a task without an id yet, but for no task that has ended or moved on."""
    store(
        database,
        queued=(0, "queued", "id-0"),
        running=(1, "running", "id-1"),
        no_id_yet=(2, "queued", None),
        ended=(3, "success", "id-3"),
        deferred=(4, "deferred", "id-4"),
        elsewhere=(5, "running", "another"),
        cleared=(6, None, None),
        next_try=(7, "running", "id-7"),
    )
    in_flight = {InvocationId(f"id-{n}"): key(n) for n in range(7)}
    in_flight[InvocationId("id-7")] = key(7, try_number=2)
    in_flight[InvocationId("id-8")] = key(8)
    assert DatabaseState().waits_for(in_flight) == {"id-0", "id-1", "id-2"}


def test_what_was_not_sent_is_given_back_in_any_number(
    database: sessionmaker[Session], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Callbacks and connection tests are no tasks."""
    count = CHUNK + 1
    store(database, **{f"task-{n}": (n, "queued", f"id-{n}") for n in range(count + 1)})
    unsent: dict[WorkloadKey, str | None] = {
        CallbackKey(str(uuid.uuid4())): "callback",
        ConnectionTestKey("test"): "test",
        **{key(n): f"id-{n}" for n in range(count)},
    }
    monkeypatch.setattr(airflow_state, "create_session", database.begin)
    assert DatabaseState().give_back(unsent, None) == count
    with database() as session:
        (left,) = session.scalars(
            select(TaskInstance.external_executor_id).where(
                TaskInstance.external_executor_id.is_not(None)
            )
        )
    assert left == f"id-{count}"


def test_a_failed_update_keeps_no_other_from_being_given_back(
    database: sessionmaker[Session],
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    """Another scheduler may hold some of the rows."""
    count = 2 * CHUNK + 1
    store(database, **{f"task-{n}": (n, "queued", f"id-{n}") for n in range(count)})
    monkeypatch.setattr(
        airflow_state,
        "create_session",
        Mock(side_effect=[database.begin(), RuntimeError("deadlock"), database.begin()]),
    )
    unsent: dict[WorkloadKey, str | None] = {key(n): f"id-{n}" for n in range(count)}
    assert DatabaseState().give_back(unsent, None) == CHUNK + 1
    assert f"Could not give {CHUNK} unsent tasks back" in caplog.text


def callback(database: sessionmaker[Session], state: str, **data: str) -> CallbackKey:
    """Store a callback of a deadline, as the scheduler does."""
    id = uuid.uuid4()
    with database.begin() as session:
        session.execute(
            insert(Callback).values(
                id=id,
                type="executor",
                fetch_method="import_path",
                data=data,
                priority_weight=1,
                state=state,
                created_at=datetime.now(tz=UTC),
            )
        )
    return CallbackKey(str(id))


def test_airflow_waits_for_callbacks_that_are_queued_or_running(
    database: sessionmaker[Session],
) -> None:
    """Airflow does not wait for a callback that has ended or is gone."""
    keys = {state: callback(database, state) for state in ("queued", "running", "success")}
    keys["gone"] = CallbackKey(str(uuid.uuid4()))
    in_flight = {InvocationId(state): key for state, key in keys.items()}
    assert DatabaseState().waits_for(in_flight) == {"queued", "running"}


def test_a_connection_test_is_always_waited_for(database: sessionmaker[Session]) -> None:
    """Airflow itself ends those, through the executor."""
    store(database)
    in_flight = {InvocationId("id"): ConnectionTestKey("test")}
    assert DatabaseState().waits_for(in_flight) == {"id"}


def test_airflow_itself_ends_tasks_alone() -> None:
    """The reconciler fails what nothing is heard from only if Airflow does not end it."""
    state = DatabaseState()
    assert state.ends(key(0))
    assert not state.ends(CallbackKey("callback"))
    assert not state.ends(ConnectionTestKey("test"))


@pytest.fixture
def configured(monkeypatch: pytest.MonkeyPatch) -> Callable[[str], dict[str, ExecutorName]]:
    """Sets `[core] executor`; returns the names of its executors, by team and class."""

    def configure(executors: str) -> dict[str, ExecutorName]:
        monkeypatch.setenv("AIRFLOW__CORE__EXECUTOR", executors)
        monkeypatch.setattr(executor_loader, "_executor_names", [])
        monkeypatch.setattr(ExecutorLoader, "_validate_teams_exist_in_database", lambda _: None)
        return {
            ":".join(filter(None, (each.team_name, each.module_path.rpartition(".")[2]))): each
            for each in ExecutorLoader.get_executor_names()
        }

    return configure


def unowned(executor: ExecutorName) -> set[str]:
    """The callbacks that an executor looks after."""
    found = DatabaseState(executor).unowned()
    assert found == {id: CallbackKey(id) for id in found}
    return set(found)


Configure = Callable[[str], dict[str, ExecutorName]]


def test_callbacks_that_wait_have_no_owner(
    database: sessionmaker[Session], configured: Configure
) -> None:
    """Callbacks that are queued or running are found under their dispatch ids."""
    waiting = {callback(database, state).id for state in ("queued", "running")}
    callback(database, "failed")
    assert unowned(configured("lambda_executor.LambdaExecutor")["LambdaExecutor"]) == waiting


@pytest.mark.parametrize(
    "executors",
    ["LocalExecutor,lambda:lambda_executor.LambdaExecutor", "lambda_executor.LambdaExecutor"],
)
@pytest.mark.parametrize(
    ("named", "is_ours"),
    [
        ("LambdaExecutor", True),
        ("lambda_executor.LambdaExecutor", True),
        ("LocalExecutor", False),
        ("CeleryExecutor", False),
    ],
)
def test_only_callbacks_that_name_us_are_ours(
    database: sessionmaker[Session],
    configured: Configure,
    executors: str,
    named: str,
    *,
    is_ours: bool,
) -> None:
    """Another executor may hold a callback for hours: its end is not ours to report."""
    key = callback(database, "queued", executor=named)
    assert unowned(configured(executors)["LambdaExecutor"]) == ({key.id} if is_ours else set())


@pytest.mark.parametrize(
    ("executors", "is_ours"),
    [
        ("lambda:lambda_executor.LambdaExecutor,LocalExecutor", True),
        ("LocalExecutor,lambda:lambda_executor.LambdaExecutor", False),
    ],
)
def test_callbacks_that_name_no_executor_are_the_defaults(
    database: sessionmaker[Session], configured: Configure, executors: str, *, is_ours: bool
) -> None:
    """The first executor gets them; an alias names ours in any position."""
    unnamed, by_alias = (
        callback(database, "queued"),
        callback(database, "running", executor="lambda"),
    )
    expected = {unnamed.id, by_alias.id} if is_ours else {by_alias.id}
    assert unowned(configured(executors)["LambdaExecutor"]) == expected


def test_a_teams_callbacks_are_its_own(
    database: sessionmaker[Session], configured: Configure, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of three executors of ours, two of them of teams, each looks after its own callbacks."""
    monkeypatch.setenv("AIRFLOW__CORE__MULTI_TEAM", "True")
    path = "lambda_executor.LambdaExecutor"
    names = configured(f"LocalExecutor,everybodys:{path};red={path};blue=LocalExecutor,{path}")
    with database.begin() as session:
        for team in ("red", "blue"):
            session.add(Team(name=team))
            session.flush()
            bundle = DagBundleModel(name=f"bundle-{team}")
            session.add(bundle)
            session.flush()
            session.execute(
                dag_bundle_team_association_table.insert().values(
                    dag_bundle_name=bundle.name, team_name=team
                )
            )
            dag = DagModel(dag_id=f"dag-{team}", bundle_name=bundle.name)  # type: ignore[no-untyped-call]
            dag.has_task_concurrency_limits = False
            session.add(dag)
    unnamed = {
        dag_id: callback(database, "queued", dag_id=dag_id).id
        for dag_id in ("dag-red", "dag-blue", "dag-of-nobody")
    }
    everybodys = callback(database, "queued", dag_id="dag-of-nobody", executor="everybodys").id
    assert unowned(names["red:LambdaExecutor"]) == {unnamed["dag-red"]}
    assert unowned(names["blue:LambdaExecutor"]) == set()
    assert unowned(names["LambdaExecutor"]) == {everybodys}


def test_the_scheduler_adopts_only_its_own_callbacks(
    database: sessionmaker[Session], configured: Configure, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Beside LocalExecutor, and loaded as Airflow does, the executor takes no other's callback."""
    names = configured("LocalExecutor,lambda:lambda_executor.LambdaExecutor")
    monkeypatch.setattr(DatabaseState, "longest_wait_s", lambda _: 0.0)
    own = callback(database, "queued", executor="lambda")
    callback(database, "running", executor="LocalExecutor")
    callback(database, "running")
    executor = ExecutorLoader.load_executor(names["LambdaExecutor"])
    assert isinstance(executor, LambdaExecutor)
    with started(Scheduler(executor)) as scheduler:
        scheduler.engine.reconciler.check()
        executor.heartbeat()
        assert executor.running == {own}


def test_the_state_of_an_invocations_task_is_known(database: sessionmaker[Session]) -> None:
    """It is not if the task runs under another id, is in another try, or has no state."""
    store(
        database,
        running=(0, "running", "id-0"),
        queued=(1, "queued", None),
        ended=(2, "success", "id-2"),
        elsewhere=(3, "running", "another"),
        cleared=(4, None, "id-4"),
        next_try=(5, "running", "id-5"),
    )
    tasks: dict[InvocationId, WorkloadKey] = {InvocationId(f"id-{n}"): key(n) for n in range(5)}
    tasks[InvocationId("id-5")] = key(5, try_number=2)
    tasks[InvocationId("id-6")] = key(6)
    tasks[InvocationId("callback")] = CallbackKey("callback")
    expected = {"id-0": "running", "id-1": "queued", "id-2": "success"}
    assert DatabaseState().states(tasks) == expected


def test_the_state_of_a_task_that_continues_is_known_under_any_id(
    database: sessionmaker[Session],
) -> None:
    """Before Airflow 3.2 the id of an earlier part may be stored."""
    states = ("deferred", "up_for_reschedule", "scheduled", "awaiting_input")
    store(database, **{state: (n, state, "an earlier one") for n, state in enumerate(states)})
    tasks = {InvocationId(state): key(n) for n, state in enumerate(states)}
    assert DatabaseState().states(tasks) == {state: state for state in states}
    next_try = {InvocationId(state): key(n, try_number=2) for n, state in enumerate(states)}
    assert DatabaseState().states(next_try) == {}


def test_many_tasks_are_read_with_one_query_for_each_chunk(
    database: sessionmaker[Session],
) -> None:
    """The answer is the same when several queries are needed, and there are no more of them."""
    count = 2 * CHUNK + 1
    store(database, **{str(n): (n, "running", f"id-{n}") for n in range(count)})
    tasks = {InvocationId(f"id-{n}"): key(n) for n in range(count)}
    queries: list[str] = []
    event.listen(
        database.kw["bind"], "before_cursor_execute", lambda *call: queries.append(call[2])
    )
    assert DatabaseState().waits_for(tasks) == set(tasks)
    assert len(queries) == 3
    assert DatabaseState().states(tasks) == dict.fromkeys(tasks, "running")
    assert len(queries) == 6
