"""A scheduler that ends leaves as in flight only what was sent, or may have been."""

from __future__ import annotations

import dataclasses
import threading
import uuid
from collections.abc import Iterator, Mapping
from typing import Any

import pytest
from airflow.executors.workloads import ExecuteTask
from airflow.models.taskinstance import TaskInstance
from sqlalchemy import delete, insert, select
from sqlalchemy.exc import OperationalError
from sqlalchemy.orm import Session, sessionmaker

from lambda_executor import LambdaExecutor
from lambda_executor.contract.errors import AwsError, InDoubtError, NoRoomError, ThrottledError
from lambda_executor.contract.wire import InvocationId
from lambda_executor.core.ledger import State
from lambda_executor.core.targets import FunctionTarget, JobTarget, Service
from lambda_executor.engine.engine import Engine
from lambda_executor.scheduler import executor as executor_module
from lambda_executor.scheduler import state as airflow_state
from lambda_executor.scheduler.compat import external_id_of
from lambda_executor.scheduler.version import AIRFLOW
from lambda_executor.testing import MemoryFunction, MemoryJobs, MemoryPayloads, MemoryQueue
from tests.support.scheduler import SETTINGS, Scheduler, orphan, workload

#: The queues of Airflow, and what becomes of a send there.
ANSWERS = ("taken", "lost", "full", "held")
JOBS = {f"ecs {answer}": JobTarget(f"ecs {answer}", Service.ECS, "{}") for answer in ANSWERS}
FUNCTIONS = {f"function {answer}": FunctionTarget(f"function-{answer}") for answer in ANSWERS}
ENDING, HEIR = 7, 8


class Answers:
    """What AWS answers to the sends to a target, by the last word of its name."""

    def __init__(self) -> None:
        self.asked = threading.Semaphore(0)
        self.answer = threading.Event()

    def give(self, name: str, full: AwsError) -> None:
        """Answer one send to the target of that name."""
        if name.endswith("full"):
            raise full
        self.asked.release()
        if name.endswith("lost"):
            raise InDoubtError("the answer was lost")
        if name.endswith("held"):
            assert self.answer.wait(10)


class Jobs(MemoryJobs):
    """A service of jobs that gives these answers."""

    def __init__(self, answers: Answers) -> None:
        super().__init__()
        self.answers = answers

    def launch(
        self, target: JobTarget, id: InvocationId, event: bytes, overrides: Mapping[str, Any]
    ) -> None:
        """Start a job, or not."""
        self.answers.give(target.name, NoRoomError("RESOURCE:CPU"))
        super().launch(target, id, event, overrides)


class Function(MemoryFunction):
    """Functions that give these answers."""

    def __init__(self, answers: Answers) -> None:
        super().__init__()
        self.answers = answers

    def invoke(self, target: FunctionTarget, payload: bytes) -> None:
        """Accept an invocation, or not."""
        self.answers.give(target.function, ThrottledError("Rate Exceeded."))
        super().invoke(target, payload)


class Site:
    """Schedulers one after the other, with the same AWS and the same table of task instances."""

    def __init__(self, tables: sessionmaker[Session]) -> None:
        self.tables = tables
        self.answers = Answers()
        self.payloads = MemoryPayloads()
        self.schedulers: list[Scheduler] = []

    def start(self, job_id: int) -> Scheduler:
        """Start a scheduler."""
        executor = LambdaExecutor(parallelism=1000)
        executor.job_id = job_id
        scheduler = Scheduler(executor, Function(self.answers), MemoryQueue("results"))
        routes = dataclasses.replace(SETTINGS.routes, by_queue=FUNCTIONS, jobs=JOBS)
        settings = dataclasses.replace(SETTINGS, routes=routes, max_invoke_attempts=3)
        jobs = {Service.ECS: Jobs(self.answers)}
        scheduler.start_on(settings, [scheduler.results], self.payloads, jobs)
        self.schedulers.append(scheduler)
        return scheduler

    def hand_over(self, scheduler: Scheduler, queue: str, count: int) -> list[ExecuteTask]:
        """Queue tasks, and store their rows as the scheduler does."""
        tasks = [workload(f"{queue} {number}", queue=queue) for number in range(count)]
        for task in tasks:
            scheduler.executor.queue_workload(task, session=None)  # type: ignore[arg-type]
        scheduler.loop_until(lambda: not any(scheduler.executor.executor_queues.values()))
        for task in tasks:
            id = scheduler.engine.ledger.live(scheduler.executor.get_task_key(task.ti))
            self.store(task, id)
        return tasks

    def store(self, task: ExecuteTask, id: str | None, **values: object) -> None:
        """Store the row of a task that is queued under a dispatch id."""
        names = ("task_id", "dag_id", "run_id", "map_index", "try_number", "pool_slots")
        row = {
            **{name: getattr(task.ti, name) for name in names},
            "id": task.ti.id if AIRFLOW >= (3, 2) else str(task.ti.id),
            "pool": "default_pool",
            "state": "queued",
            "queued_by_job_id": ENDING,
            "external_executor_id": id,
        }
        with self.tables.begin() as session:
            session.execute(insert(TaskInstance).values({**row, **values}))

    def orphans(self) -> list[Any]:
        """The tasks as Airflow offers them for adoption."""
        with self.tables() as session:
            rows = session.execute(
                select(
                    TaskInstance.task_id, TaskInstance.external_executor_id, TaskInstance.state
                ).where(TaskInstance.state.in_(["queued", "running"]))
            )
            return [
                orphan(workload(name, queue=name.rpartition(" ")[0]), id, state or "")
                for name, id, state in rows
            ]

    def given_back(self) -> set[str]:
        """The tasks that any scheduler may queue."""
        columns = (TaskInstance.external_executor_id, TaskInstance.queued_by_job_id)
        with self.tables() as session:
            rows = select(TaskInstance.task_id, *columns).where(TaskInstance.state == "scheduled")
            found = session.execute(rows).all()
        assert all(row[1:] == (None, None) for row in found)
        return {row[0] for row in found}

    def adopt(self) -> tuple[set[str], set[str]]:
        """Have another scheduler adopt all tasks; return whose it adopts, and whose not."""
        heir, orphans = self.start(HEIR), self.orphans()
        refused = {ti.key.task_id for ti in heir.executor.try_adopt_task_instances(orphans)}
        adopted = {ti.key.task_id for ti in orphans} - refused
        assert heir.engine.ledger.count(State.IN_FLIGHT) == len(adopted)
        return adopted, refused


@pytest.fixture
def site(airflow_tables: sessionmaker[Session], monkeypatch: pytest.MonkeyPatch) -> Iterator[Site]:
    """AWS and Airflow's table; the time to send what is pending is over at once."""
    drain = Engine.drain
    monkeypatch.setattr(Engine, "drain", lambda engine, _: drain(engine, 0))
    # Airflow's own commits at the end, too.
    monkeypatch.setattr(airflow_state, "create_session", airflow_tables.begin)
    site = Site(airflow_tables)
    yield site
    site.answers.answer.set()
    for scheduler in site.schedulers:
        scheduler.executor.terminate()
    with airflow_tables.begin() as session:
        session.execute(delete(TaskInstance))


@pytest.mark.parametrize("where", ["ecs", "function"])
def test_what_was_not_sent_is_given_back(site: Site, where: str) -> None:
    """100 tasks wait for room: any scheduler queues them. What may have been sent is adopted."""
    ending = site.start(ENDING)
    for answer in ("taken", "lost"):
        site.hand_over(ending, f"{where} {answer}", 1)
        assert site.answers.asked.acquire(timeout=10)
    site.hand_over(ending, f"{where} full", 100)
    ending.executor.end()
    assert site.given_back() == {f"{where} full {number}" for number in range(100)}
    assert site.adopt() == ({f"{where} taken 0", f"{where} lost 0"}, set())


def test_what_was_not_sent_is_given_back_before_the_wait_for_results(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In that wait other schedulers adopt what counts as sent."""
    ending = site.start(ENDING)
    site.hand_over(ending, "ecs full", 1)
    given_back: list[set[str]] = []
    monkeypatch.setattr(Engine, "settle", lambda *_: given_back.append(site.given_back()))
    ending.executor.end()
    assert given_back == [{"ecs full 0"}]


@pytest.mark.parametrize("where", ["ecs", "function"])
def test_what_is_being_sent_at_the_end_is_adopted(
    site: Site, where: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """AWS may still take it: without an answer in time it counts as sent."""
    monkeypatch.setattr(executor_module, "CLOSE_TIMEOUT_S", 0)
    ending = site.start(ENDING)
    site.hand_over(ending, f"{where} held", 1)
    assert site.answers.asked.acquire(timeout=10)
    ending.executor.end()
    assert site.adopt() == ({f"{where} held 0"}, set())


def test_what_was_not_even_taken_over_is_given_back(site: Site) -> None:
    """Whoever terminates an executor sends nothing of what Airflow had queued on it."""
    ending = site.start(ENDING)
    task = workload("ecs taken 0", queue="ecs taken")
    ending.executor.queue_workload(task, session=None)  # type: ignore[arg-type]
    site.store(task, external_id_of(task.ti))
    ending.executor.terminate()
    assert site.given_back() == {"ecs taken 0"}


@pytest.mark.parametrize(
    "values",
    [
        {"queued_by_job_id": HEIR},
        {"state": "running"},
        {"external_executor_id": str(uuid.uuid4())},
    ],
)
def test_what_has_changed_hands_keeps_its_id(site: Site, values: Mapping[str, object]) -> None:
    """Another scheduler holds it, or it runs, or it was queued again."""
    ending = site.start(ENDING)
    site.hand_over(ending, "ecs full", 1)
    with site.tables.begin() as session:
        session.execute(TaskInstance.__table__.update().values(**values))
    (before,) = site.orphans()
    ending.executor.end()
    (after,) = site.orphans()
    assert before.external_executor_id
    assert after.external_executor_id == before.external_executor_id


def test_a_scheduler_ends_without_its_database(
    site: Site, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """Its tasks are adopted as if they had been sent, and the log says what ends that."""

    def refuse() -> None:
        raise OperationalError("UPDATE", {}, Exception("the server closed the connection"))

    ending = site.start(ENDING)
    site.hand_over(ending, "ecs full", 2)
    with monkeypatch.context() as patch:
        patch.setattr(airflow_state, "create_session", refuse)
        ending.executor.end()
    assert "Could not give 2 unsent tasks back to Airflow" in caplog.text
    assert site.adopt() == ({"ecs full 0", "ecs full 1"}, set())
