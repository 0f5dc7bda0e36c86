"""Our executor in one scheduler with three others, in each minor version of Airflow.

The list of executors is read and loaded by Airflow itself, and the scheduler's own methods choose
among them. Lambda and the queues of ours are in memory; the others send nothing.
"""

from __future__ import annotations

import copy
import uuid
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from airflow.exceptions import AirflowConfigException
from airflow.executors import executor_loader
from airflow.executors.executor_loader import ExecutorLoader
from airflow.jobs.job import Job
from airflow.jobs.scheduler_job_runner import SchedulerJobRunner
from airflow.models import import_all_models
from airflow.models.base import Base
from airflow.models.dagrun import DagRun
from airflow.models.taskinstance import TaskInstance
from airflow.providers.standard.operators.empty import EmptyOperator
from airflow.sdk import DAG
from sqlalchemy import create_engine, insert
from sqlalchemy.orm import Session, sessionmaker

from lambda_executor import LambdaExecutor
from lambda_executor.scheduler import state as airflow_state
from lambda_executor.scheduler.version import AIRFLOW
from tests.support.scheduler import Scheduler, started, workload

CELERY = "airflow.providers.celery.executors.celery_executor.CeleryExecutor"
REFERENCE = "airflow.providers.amazon.aws.executors.aws_lambda.AwsLambdaExecutor"
OURS = "lambda_executor.LambdaExecutor"
LIST = f"LocalExecutor,celery:{CELERY},provider:{REFERENCE},lambda:{OURS}"

#: What a task may write, and the class that gets it then.
NAMES = {
    None: "LocalExecutor",
    "LocalExecutor": "LocalExecutor",
    "celery": "CeleryExecutor",
    CELERY: "CeleryExecutor",
    "provider": "AwsLambdaExecutor",
    REFERENCE: "AwsLambdaExecutor",
    "lambda": "LambdaExecutor",
    OURS: "LambdaExecutor",
}
#: Before 3.2 the DAG processor accepts these, and the scheduler finds no executor for them.
CLASS_NAMES = ("CeleryExecutor", "AwsLambdaExecutor", "LambdaExecutor")

SETTINGS = {
    "AIRFLOW__CORE__EXECUTOR": LIST,
    "AIRFLOW__CELERY__BROKER_URL": "memory://",
    "AIRFLOW__CELERY__RESULT_BACKEND": "cache+memory://",
    "AIRFLOW__AWS_LAMBDA_EXECUTOR__FUNCTION_NAME": "function-of-the-provider",
    "AIRFLOW__AWS_LAMBDA_EXECUTOR__QUEUE_URL": "https://sqs/results-of-the-provider",
    "AIRFLOW__AWS_LAMBDA_EXECUTOR__DEAD_LETTER_QUEUE_URL": "https://sqs/dead-of-the-provider",
    "AIRFLOW__AWS_LAMBDA_EXECUTOR__CONN_ID": "",
    "AIRFLOW__AWS_LAMBDA_EXECUTOR__REGION_NAME": "eu-west-1",
}


def executor_names(monkeypatch: pytest.MonkeyPatch, executors: str) -> list[str]:
    """Let Airflow read a list of executors anew; the paths of their classes."""
    monkeypatch.setenv("AIRFLOW__CORE__EXECUTOR", executors)
    for name, value in vars(executor_loader).items():
        if name.startswith("_") and not name.startswith("__") and isinstance(value, dict | list):
            empty = copy.copy(value)
            empty.clear()
            monkeypatch.setattr(executor_loader, name, empty)
    monkeypatch.setattr(ExecutorLoader, "executors", dict(ExecutorLoader.executors))
    return [each.module_path for each in ExecutorLoader.get_executor_names()]


@pytest.fixture(scope="module")
def runner() -> Iterator[SchedulerJobRunner]:
    """Airflow's scheduler with the four executors, before its loop."""
    with pytest.MonkeyPatch.context() as patch:
        for name, value in SETTINGS.items():
            patch.setenv(name, value)
        executor_names(patch, LIST)
        yield SchedulerJobRunner(Job())  # type: ignore[no-untyped-call]


@pytest.fixture
def scheduler(runner: SchedulerJobRunner) -> Iterator[Scheduler]:
    """Our executor of that scheduler, started on its twins."""
    (ours,) = (each for each in loaded(runner) if isinstance(each, LambdaExecutor))
    with started(Scheduler(ours)) as scheduler:
        yield scheduler
    ours.running.clear()


@pytest.fixture
def database(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[sessionmaker[Session]]:
    """Airflow's own tables."""
    import_all_models()  # type: ignore[no-untyped-call]
    engine = create_engine(f"sqlite:///{tmp_path / 'airflow.db'}")
    Base.metadata.create_all(engine)
    sessions = sessionmaker(engine)
    monkeypatch.setattr(airflow_state, "create_session", sessions)
    yield sessions
    engine.dispose()


def loaded(runner: SchedulerJobRunner) -> list[Any]:
    """The executors of a scheduler; before 3.2 its job holds them."""
    return list((runner if hasattr(runner, "executors") else runner.job).executors)


def chosen(runner: SchedulerJobRunner, *workloads: Any) -> dict[str, list[Any]]:
    """What each executor gets, by the name of its class, as the scheduler decides."""
    if AIRFLOW >= (3, 2):
        found = runner._executor_to_workloads(workloads, Session())
    else:
        found = runner._executor_to_tis(workloads)  # type: ignore[attr-defined]
    return {type(executor).__name__: list(each) for executor, each in found.items()}


def instance(task_id: str, name: str | None, **default_args: str) -> TaskInstance:
    """A task instance of a DAG file's task."""
    with DAG("dag", schedule=None, default_args=default_args):
        # With None it would ignore `default_args`.
        given = {"executor": name} if name else {}
        task = EmptyOperator(task_id=task_id, **given)  # type: ignore[arg-type]
    return TaskInstance(task, run_id="run", dag_version_id=uuid.uuid4())  # type: ignore[arg-type]


@pytest.mark.parametrize("name", NAMES)
def test_a_task_goes_to_the_executor_that_it_names(
    runner: SchedulerJobRunner, name: str | None
) -> None:
    """By alias and by full path, or to the first in the list."""
    ti = instance("task", name)
    assert chosen(runner, ti) == {NAMES[name]: [ti]}


@pytest.mark.parametrize("name", CLASS_NAMES)
def test_a_class_name_is_enough_since_3_2(runner: SchedulerJobRunner, name: str) -> None:
    """Before 3.2 such a task is never started, unless the class name is the alias."""
    ti = instance("task", name)
    assert chosen(runner, ti) == ({name: [ti]} if AIRFLOW >= (3, 2) else {})


def test_an_alias_may_be_the_class_name(
    runner: SchedulerJobRunner, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With that, a DAG file that names the class works with every version."""
    assert runner, "its settings are set"
    executor_names(monkeypatch, f"LocalExecutor,LambdaExecutor:{OURS}")
    ti = instance("task", "LambdaExecutor")
    assert chosen(SchedulerJobRunner(Job()), ti) == {"LambdaExecutor": [ti]}  # type: ignore[no-untyped-call]


def test_default_args_name_the_executor_of_every_task(runner: SchedulerJobRunner) -> None:
    """A task's own name is stronger."""
    ours = instance("ours", None, executor="lambda")
    local = instance("local", "LocalExecutor", executor="lambda")
    assert chosen(runner, ours, local) == {"LambdaExecutor": [ours], "LocalExecutor": [local]}


@pytest.mark.skipif(AIRFLOW < (3, 3), reason="no scheduler runs callbacks on an executor")
@pytest.mark.parametrize("name", NAMES)
def test_a_callback_goes_to_the_executor_that_it_names(
    runner: SchedulerJobRunner, name: str | None
) -> None:
    """A synchronous callback of a deadline names it as a task does."""
    from airflow.models.callback import ExecutorCallback  # noqa: PLC0415 - since 3.2
    from airflow.sdk.definitions.callback import SyncCallback  # noqa: PLC0415 - since 3.2

    callback = ExecutorCallback(
        SyncCallback("a.module.notify", executor=name),
        fetch_method="import_path",  # type: ignore[arg-type]
    )
    assert chosen(runner, callback) == {NAMES[name]: [callback]}


def test_airflows_own_executors_have_another_alias_since_3_2(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Before 3.2 an alias needs the full path behind it."""
    short = f"celery:CeleryExecutor,lambda:{OURS}"
    if AIRFLOW >= (3, 2):
        assert executor_names(monkeypatch, short) == [CELERY, OURS]
    else:
        with pytest.raises(AirflowConfigException, match="must be a module path"):
            executor_names(monkeypatch, short)


def test_only_our_tasks_reach_our_function(
    runner: SchedulerJobRunner, scheduler: Scheduler
) -> None:
    """What the scheduler queues on the others stays with them, and none of it is reported."""
    sent = scheduler.queue(workload("ours"))
    for executor in loaded(runner):
        if executor is not scheduler.executor and type(executor).__name__ != "LocalExecutor":
            executor.queue_workload(workload("theirs"), session=None)
    scheduler.executor.heartbeat()
    assert [each.id for each in scheduler.function.invocations] == sent
    assert [key.task_id for key in map(_names, scheduler.executor.running)] == ["ours"]


def _names(key: Any) -> Any:
    return getattr(key, "names", key)


def add_orphans(session: Session, executors: dict[str, str | None]) -> dict[str, str]:
    """Store tasks that a dead scheduler has queued, by their ids; their dispatch ids."""
    dead = Job()  # type: ignore[no-untyped-call]
    dead.job_type, dead.state = "SchedulerJob", "failed"
    session.add(dead)
    run = DagRun(dag_id="dag", run_id="run", run_type="manual", state="running")  # type: ignore[arg-type]
    run.run_after, run.conf = datetime.now(UTC), {}
    session.add(run)
    session.flush()
    ids = {task_id: str(uuid.uuid4()) for task_id in executors}
    for task_id, executor in executors.items():
        session.execute(
            insert(TaskInstance).values(
                id=uuid.uuid4() if AIRFLOW >= (3, 2) else str(uuid.uuid4()),
                dag_id="dag",
                task_id=task_id,
                run_id="run",
                map_index=-1,
                try_number=1,
                pool="default_pool",
                pool_slots=1,
                state="queued",
                queued_by_job_id=dead.id,
                executor=executor,
                external_executor_id=ids[task_id],
            )
        )
    return ids


def test_we_adopt_our_tasks_alone(
    runner: SchedulerJobRunner, scheduler: Scheduler, database: sessionmaker[Session]
) -> None:
    """Each executor is offered its own orphans, and a check later ours still holds no other."""
    orphans = {"ours": "lambda", "by_path": OURS, "celery": "celery", "local": None}
    with database() as session:
        ids = add_orphans(session, orphans)
        runner.job.id = 99
        runner.adopt_or_reset_orphaned_tasks(session=session)
        session.commit()
    mine = {ids["ours"], ids["by_path"]}
    scheduler.engine.reconciler.check()
    scheduler.executor.heartbeat()
    assert set(scheduler.engine.ledger.in_flight()) == mine
    assert {_names(key).task_id for key in scheduler.executor.running} == {"ours", "by_path"}
    assert scheduler.ends() == {}
