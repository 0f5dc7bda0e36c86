"""What the scheduler does with an executor, one step at a time, with Lambda and SQS in memory."""

from __future__ import annotations

import contextlib
import dataclasses
import threading
import time
import uuid
from collections import Counter, deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from types import MappingProxyType, SimpleNamespace
from typing import TYPE_CHECKING, Any

import pytest
from airflow.executors import workloads
from airflow.executors.workloads import ExecuteTask
from airflow.models import import_all_models
from airflow.models.base import Base
from airflow.models.taskinstance import TaskInstance
from airflow.models.taskinstancekey import TaskInstanceKey
from sqlalchemy import create_engine
from sqlalchemy.orm import Session, sessionmaker
from sqlalchemy.pool import StaticPool

from lambda_executor import LambdaExecutor
from lambda_executor.contract.errors import AwsError
from lambda_executor.contract.wire import InvocationId
from lambda_executor.core.ports import Endpoints, JobLauncher, Message
from lambda_executor.core.routing import Routes
from lambda_executor.core.targets import FunctionTarget, Service
from lambda_executor.engine.engine import Engine
from lambda_executor.scheduler import state
from lambda_executor.setup.config import ExecutorConfig
from lambda_executor.testing import MemoryFunction, MemoryPayloads, MemoryQueue

if TYPE_CHECKING:
    from airflow.executors.workloads import ExecutorWorkload

TOKEN = "the-workload-token"
CALLBACK_ID = "0198c9d2-7d0e-7a53-9f6e-3f5d0c1b2a49"
SETTINGS = ExecutorConfig(
    routes=Routes(
        FunctionTarget("function"), by_queue={"large": FunctionTarget("function-large", "live")}
    ),
    queue_urls=("https://sqs/results",),
    dead_letter_queue_url="https://sqs/dead",
    region_name=None,
    check_health_on_startup=False,
    max_invoke_attempts=1,
    end_wait_timeout_s=0,
    dispatch_threads=2,
    poll_threads=1,
)


def workload(
    task_id: str,
    *,
    executor_config: dict[str, Any] | None = None,
    queue: str = "default",
    token: str = TOKEN,
) -> ExecuteTask:
    """A task as the scheduler queues it, with the id that it pre-assigned."""
    return ExecuteTask.model_validate(
        {
            "token": token,
            "dag_rel_path": "dag.py",
            "bundle_info": {"name": "dags-folder"},
            "log_path": "x.log",
            "ti": {
                "id": str(uuid.uuid4()),
                "dag_version_id": str(uuid.uuid4()),
                "task_id": task_id,
                "dag_id": "dag",
                "run_id": "run",
                "try_number": 1,
                "map_index": -1,
                "pool_slots": 1,
                "queue": queue,
                "priority_weight": 1,
                "external_executor_id": str(uuid.uuid4()),
                "executor_config": executor_config,
            },
        }
    )


def named(key: Any) -> Any:
    """The key of a workload, by its names if it is a task: since 3.4 its key is its UUID."""
    return getattr(key, "names", key)


def orphan(task: ExecuteTask, external_executor_id: str | None, state: str = "running") -> Any:
    """The task instance of a task as the scheduler offers it for adoption."""
    return SimpleNamespace(
        id=task.ti.id,
        key=task.ti.key,
        external_executor_id=external_executor_id,
        state=state,
        queue=task.ti.queue,
        executor_config=task.ti.executor_config,
    )


def callback() -> Any:
    """A callback as the scheduler queues it, since 3.2."""
    return workloads.ExecuteCallback.model_validate(
        {
            "token": "token",
            "dag_rel_path": "dag.py",
            "bundle_info": {"name": "dags-folder"},
            "log_path": "x.log",
            "callback": {"id": CALLBACK_ID, "fetch_method": "import_path", "data": {"path": "a.b"}},
        }
    )


@dataclass
class Scheduler:
    """What the scheduler does with an executor, one step at a time."""

    executor: LambdaExecutor
    function: MemoryFunction = field(default_factory=MemoryFunction)
    results: MemoryQueue = field(default_factory=lambda: MemoryQueue("results"))
    dead_letters: MemoryQueue = field(default_factory=lambda: MemoryQueue("dead-letters"))

    def start(self) -> None:
        """Start the executor on the twins."""
        self.start_on(SETTINGS, [self.results])

    def start_sharing(self, queues: list[MemoryQueue], job_id: int) -> None:
        """Start as one of several schedulers that have a results queue each."""
        self.executor.job_id = job_id
        self.results = queues[job_id % len(queues)]
        urls = tuple(f"https://sqs/{queue.name}" for queue in queues)
        settings = dataclasses.replace(SETTINGS, queue_urls=urls)
        self.start_on(settings, queues)

    def start_on(
        self,
        settings: ExecutorConfig,
        results: Sequence[MemoryQueue],
        payloads: MemoryPayloads | None = None,
        jobs: Mapping[Service, JobLauncher] = MappingProxyType({}),
    ) -> None:
        """Start the executor on the twins, with other settings."""
        endpoints = Endpoints(self.function, results, self.dead_letters, payloads, jobs=jobs)
        self.executor.start_on(settings, endpoints)

    @property
    def engine(self) -> Engine[Any]:
        """The executor's; it was started."""
        assert self.executor.engine
        return self.executor.engine

    def die(self) -> None:
        """Stop receiving with nothing acknowledged."""
        self.engine.listeners.close(0)

    def queue(self, *workloads: ExecutorWorkload) -> list[InvocationId]:
        """Queue workloads and wait until the function has them."""
        before = len(self.function.invocations)
        for one in workloads:
            self.executor.queue_workload(one, session=None)  # type: ignore[arg-type]
        # One heartbeat takes over no more than there is time for.
        self.loop_until(lambda: not any(self.executor.executor_queues.values()))
        assert self.function.wait_for(before + len(workloads))
        return [i.id for i in self.function.invocations[before:]]

    def loop_until(self, condition: Callable[[], object], timeout_s: float = 10) -> None:
        """Heartbeat as the scheduler does, leaving the events where they are."""
        deadline_s = time.monotonic() + timeout_s
        while not condition():
            assert time.monotonic() < deadline_s, "the executor did not get there"
            self.executor.heartbeat()

    def ends(self) -> dict[Any, Any]:
        """The events of workloads that ended, by the names of their tasks.

        Before 3.2 there are other events, with the ids of workloads that were sent.
        """
        events = self.executor.event_buffer.items()
        return {named(key): event for key, event in events if event[0] != "running"}

    def event(self, key: TaskInstanceKey) -> tuple[Any, Any]:
        """Wait for a task's event and take it, as the scheduler does after a heartbeat."""
        self.loop_until(lambda: key in self.ends())
        state, info = self.take()[key]
        return state, info

    def take(self) -> dict[Any, Any]:
        """Take the events as the scheduler of this Airflow does, by the names of their tasks.

        Since 3.4 it discards the events of tasks that it cannot identify.
        """
        drain = getattr(self.executor, "_drain_events_with_task_ids", None)
        events: dict[Any, Any] = drain()[0] if drain else self.executor.get_event_buffer()
        return {named(key): event for key, event in events.items()}


class CountedQueue(MemoryQueue):
    """A queue that counts calls, and fails those that it is told to fail."""

    def __init__(self, name: str) -> None:
        super().__init__(name)
        self.calls: Counter[str] = Counter()
        self.open = threading.Event()
        self.open.set()
        self.failures: dict[str, deque[AwsError]] = {"receive": deque(), "delete": deque()}

    def receive(self, wait_s: int) -> Sequence[Message]:
        """Receive, once the queue is open, or fail; what was empty is not counted."""
        if not self.open.wait(wait_s):
            return []
        self._fail("receive")
        messages = super().receive(wait_s)
        self.calls["receive"] += bool(messages)
        return messages

    def delete(self, receipts: Sequence[str]) -> int:
        """Delete, or fail."""
        self._fail("delete")
        self.calls["delete"] += 1
        return super().delete(receipts)

    def _fail(self, call: str) -> None:
        if self.failures[call]:
            raise self.failures[call].popleft()


class HeldFunction(MemoryFunction):
    """A function whose answers come only when the test lets them."""

    def __init__(self) -> None:
        super().__init__()
        self.asked = threading.Semaphore(0)
        self.answer = threading.Event()

    def invoke(self, target: FunctionTarget, payload: bytes) -> None:
        """Accept one payload, later."""
        self.asked.release()
        assert self.answer.wait(10)
        super().invoke(target, payload)


@contextlib.contextmanager
def started(scheduler: Scheduler) -> Iterator[Scheduler]:
    """Start its executor; it ends with the block."""
    scheduler.start()
    try:
        yield scheduler
    finally:
        scheduler.executor.terminate()


@pytest.fixture(scope="session")
def airflow_tables() -> Iterator[sessionmaker[Session]]:
    """Airflow's table of task instances, in memory and empty."""
    import_all_models()  # type: ignore[no-untyped-call]
    one_for_all_threads = {"check_same_thread": False}
    engine = create_engine("sqlite://", poolclass=StaticPool, connect_args=one_for_all_threads)
    Base.metadata.create_all(engine, tables=[TaskInstance.__table__])
    yield sessionmaker(engine)
    engine.dispose()


@pytest.fixture(autouse=True)
def airflow_database(
    airflow_tables: sessionmaker[Session], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The executor asks a database that has no task: as far as Airflow knows, none continues."""
    monkeypatch.setattr(state, "create_session", airflow_tables)


@pytest.fixture
def scheduler() -> Iterator[Scheduler]:
    """A scheduler whose executor was started."""
    scheduler = Scheduler(LambdaExecutor(parallelism=4))
    scheduler.start()
    yield scheduler
    scheduler.executor.terminate()
