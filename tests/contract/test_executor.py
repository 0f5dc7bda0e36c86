"""The executor keeps its promises to Airflow's scheduler, with Lambda and SQS in memory."""

from __future__ import annotations

import base64
import dataclasses
import json
import time
import uuid
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from types import SimpleNamespace
from typing import Any

import pytest
from airflow.executors.workloads import ExecuteTask
from airflow.models.taskinstancekey import TaskInstanceKey
from airflow.utils.state import TaskInstanceState

from lambda_executor import LambdaExecutor
from lambda_executor.airflow_compat import AIRFLOW, external_id_of
from lambda_executor.airflow_state import DatabaseState
from lambda_executor.config import ExecutorConfig
from lambda_executor.errors import RejectedError
from lambda_executor.ledger import State
from lambda_executor.routing import Routes, Target
from lambda_executor.testing import MemoryFunction, MemoryQueue
from lambda_executor.wire import InvocationId, Outcome, Result

TOKEN = "the-workload-token"
SETTINGS = ExecutorConfig(
    routes=Routes(Target("function"), by_queue={"large": Target("function-large", "live")}),
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


@dataclass
class Scheduler:
    """What the scheduler does with an executor, one step at a time."""

    executor: LambdaExecutor
    function: MemoryFunction = field(default_factory=MemoryFunction)
    results: MemoryQueue = field(default_factory=lambda: MemoryQueue("results"))
    dead_letters: MemoryQueue = field(default_factory=lambda: MemoryQueue("dead-letters"))

    def start(self) -> None:
        """Start the executor on the twins."""
        self.executor._start_parts(SETTINGS, self.function, [self.results], self.dead_letters)

    def start_sharing(self, queues: list[MemoryQueue], job_id: int) -> None:
        """Start as one of several schedulers that have a results queue each."""
        self.executor.job_id = job_id
        self.results = queues[job_id % len(queues)]
        urls = tuple(f"https://sqs/{queue.name}" for queue in queues)
        settings = dataclasses.replace(SETTINGS, queue_urls=urls)
        self.executor._start_parts(settings, self.function, queues, self.dead_letters)

    def die(self) -> None:
        """Stop receiving with nothing acknowledged."""
        assert self.executor._parts
        for poller in self.executor._parts.pollers:
            poller.close(0)

    def queue(self, *workloads: ExecuteTask) -> list[InvocationId]:
        """Queue workloads and wait until the function has them."""
        before = len(self.function.invocations)
        for one in workloads:
            self.executor.queue_workload(one, session=None)  # type: ignore[arg-type]
        self.executor.heartbeat()
        assert self.function.wait_for(before + len(workloads))
        return [i.id for i in self.function.invocations[before:]]

    def loop_until(self, condition: Callable[[], object], timeout_s: float = 10) -> None:
        """Heartbeat as the scheduler does, leaving the events where they are."""
        deadline_s = time.monotonic() + timeout_s
        while not condition():
            assert time.monotonic() < deadline_s, "the executor did not get there"
            self.executor.heartbeat()

    def ends(self) -> dict[Any, Any]:
        """The events of workloads that ended; before 3.2 there are others, with their ids."""
        return {k: v for k, v in self.executor.event_buffer.items() if v[0] != "running"}

    def event(self, key: TaskInstanceKey) -> tuple[Any, Any]:
        """Wait for a task's event and take it, as the scheduler does after a heartbeat."""
        self.loop_until(lambda: key in self.ends())
        return self.executor.get_event_buffer()[key]


@pytest.fixture
def scheduler() -> Iterator[Scheduler]:
    """A scheduler whose executor was started."""
    scheduler = Scheduler(LambdaExecutor(parallelism=4))
    scheduler.start()
    yield scheduler
    scheduler.executor.terminate()


def test_a_task_goes_out_under_the_id_that_airflow_keeps(scheduler: Scheduler) -> None:
    """The dispatch id is the external executor id that the scheduler committed."""
    task = workload("a")
    (id,) = scheduler.queue(task)
    # Before 3.2 the scheduler does not commit an id itself: it is told ours by an event.
    kept = external_id_of(task.ti) or scheduler.executor.event_buffer[task.ti.key][1]
    assert id == kept
    (invocation,) = scheduler.function.invocations
    assert json.loads(invocation.workload_json)["token"] == TOKEN
    assert invocation.reply_to == SETTINGS.queue_urls[0]
    assert scheduler.executor.slots_available == 3


def test_a_success_frees_the_slot(scheduler: Scheduler) -> None:
    """A result with return code 0 is the task's success event."""
    task = workload("a")
    (id,) = scheduler.queue(task)
    scheduler.results.reply(id)
    assert scheduler.event(task.ti.key) == (TaskInstanceState.SUCCESS, None)
    assert scheduler.executor.slots_available == 4


def test_a_result_is_deleted_only_after_the_scheduler_took_the_event(scheduler: Scheduler) -> None:
    """While the event lies in the buffer the message stays in the queue."""
    task = workload("a")
    (id,) = scheduler.queue(task)
    scheduler.results.reply(id)
    scheduler.loop_until(lambda: task.ti.key in scheduler.ends())
    for _ in range(3):
        scheduler.executor.heartbeat()
    assert len(scheduler.results) == 1
    scheduler.executor.get_event_buffer()
    scheduler.executor.heartbeat()
    assert scheduler.results.wait_until_empty()


def test_a_crash_before_the_event_is_taken_loses_no_result(scheduler: Scheduler) -> None:
    """The scheduler that adopts the task gets the message again and settles it."""
    now_s = [0.0]
    scheduler.results = MemoryQueue("results", visibility_timeout_s=30, clock=lambda: now_s[0])
    scheduler.executor.terminate()
    scheduler.start()
    task = workload("a")
    (id,) = scheduler.queue(task)
    scheduler.results.reply(id)
    scheduler.loop_until(lambda: task.ti.key in scheduler.ends())
    scheduler.die()
    heir = Scheduler(LambdaExecutor(parallelism=4), results=scheduler.results)
    heir.start()
    ti = SimpleNamespace(key=task.ti.key, external_executor_id=id)
    assert heir.executor.try_adopt_task_instances([ti]) == []  # type: ignore[list-item]
    assert heir.executor.slots_available == 3
    now_s[0] = 31
    heir.results.send("wake the long poll")
    assert heir.event(task.ti.key) == (TaskInstanceState.SUCCESS, None)
    heir.executor.terminate()


def test_a_failure_carries_its_reason_to_the_user(scheduler: Scheduler) -> None:
    """The reason, request id and log stream are the event's info and in Airflow's event log."""
    task = workload("a")
    (id,) = scheduler.queue(task)
    scheduler.results.send(
        Result(id, -9, Outcome.CRASHED, "signal: killed", request_id="r-1", log_stream="s-1")
    )
    state, info = scheduler.event(task.ti.key)
    assert state == TaskInstanceState.FAILED
    assert info == "signal: killed (request id r-1, log stream s-1)"
    (entry,) = scheduler.executor._task_event_logs
    assert (entry.task_id, entry.extra) == ("a", info)


def test_a_dead_letter_fails_the_task_with_lambdas_words(scheduler: Scheduler) -> None:
    """What Lambda gave up on comes back over the dead-letter queue with its reason (W7)."""
    task = workload("a")
    (id,) = scheduler.queue(task)
    (invocation,) = scheduler.function.invocations
    scheduler.dead_letters.send(
        invocation.encode().decode(),
        {"RequestID": "r-1", "ErrorMessage": "Task timed out after 900.00 seconds"},
    )
    state, info = scheduler.event(task.ti.key)
    assert state == TaskInstanceState.FAILED
    assert "Task timed out after 900.00 seconds (request id r-1)" in info
    assert scheduler.executor._ledger.state(id) is State.SETTLED


def test_a_duplicate_start_does_not_fail_the_running_task(scheduler: Scheduler) -> None:
    """The second start's report is acknowledged and settles nothing (W1)."""
    task = workload("a")
    (id,) = scheduler.queue(task)
    scheduler.results.send(Result(id, 1, Outcome.DUPLICATE))
    scheduler.loop_until(lambda: len(scheduler.results) == 0)
    assert scheduler.ends() == {}
    scheduler.results.reply(id)
    assert scheduler.event(task.ti.key)[0] == TaskInstanceState.SUCCESS


@pytest.mark.skipif(
    AIRFLOW < (3, 1), reason="Airflow 3.0 holds the second half back until the first has ended"
)
def test_a_deferred_tasks_first_result_does_not_settle_its_second_half(
    scheduler: Scheduler,
) -> None:
    """A late result of an earlier dispatch of the same key frees no slot, makes no event (W2)."""
    first, resumed = workload("a"), workload("a")
    assert first.ti.key == resumed.ti.key
    (old,) = scheduler.queue(first)
    (new,) = scheduler.queue(resumed)
    scheduler.results.reply(old)
    scheduler.loop_until(lambda: len(scheduler.results) == 0)
    assert scheduler.ends() == {}
    assert scheduler.executor.slots_available == 3
    scheduler.results.reply(new)
    assert scheduler.event(first.ti.key)[0] == TaskInstanceState.SUCCESS


def test_a_permanent_refusal_fails_one_task_and_holds_nothing_back(scheduler: Scheduler) -> None:
    """The reason is AWS's; the next task is sent."""
    scheduler.function.failures.append(RejectedError("Function not found: x"))
    bad, good = workload("bad"), workload("good")
    scheduler.executor.queue_workload(bad, session=None)  # type: ignore[arg-type]
    assert scheduler.event(bad.ti.key) == (TaskInstanceState.FAILED, "Function not found: x")
    scheduler.queue(good)
    assert json.loads(scheduler.function.invocations[0].workload_json)["ti"]["task_id"] == "good"


def test_an_executor_config_that_cannot_travel_fails_its_own_task(scheduler: Scheduler) -> None:
    """It never reaches the function; its neighbour does."""
    bad, good = workload("bad", executor_config={"x": object()}), workload("good")
    scheduler.executor.queue_workload(bad, session=None)  # type: ignore[arg-type]
    scheduler.queue(good)
    assert json.loads(scheduler.function.invocations[0].workload_json)["ti"]["task_id"] == "good"
    state, info = scheduler.event(bad.ti.key)
    assert state == TaskInstanceState.FAILED
    assert "executor_config cannot travel" in info


def test_the_queue_selects_the_function(scheduler: Scheduler) -> None:
    """A task of a mapped queue runs on that function, an unknown queue names the known ones."""
    scheduler.queue(workload("a"), workload("b", queue="large"))
    assert sorted(map(str, scheduler.function.targets)) == ["function", "function-large:live"]
    lost = workload("c", queue="gpu")
    scheduler.executor.queue_workload(lost, session=None)  # type: ignore[arg-type]
    state, info = scheduler.event(lost.ti.key)
    assert state == TaskInstanceState.FAILED
    assert "no function serves the queue 'gpu'; known queues: default, large" in info


def test_a_workload_whose_token_has_run_out_is_not_sent(scheduler: Scheduler) -> None:
    """It fails with that reason and never reaches the function."""
    claims = base64.urlsafe_b64encode(b'{"exp": 1000}').decode().rstrip("=")
    task = workload("a", token=f"x.{claims}.y")
    scheduler.executor.queue_workload(task, session=None)  # type: ignore[arg-type]
    state, info = scheduler.event(task.ti.key)
    assert state == TaskInstanceState.FAILED
    assert "token ran out" in info
    assert scheduler.function.invocations == []


def test_malformed_messages_in_both_queues_hold_nothing_back(scheduler: Scheduler) -> None:
    """They are removed and the task's own result is taken."""
    task = workload("a")
    (id,) = scheduler.queue(task)
    for queue in (scheduler.results, scheduler.dead_letters):
        for body in ("5", "{", '{"task_key": []}', "\x00"):
            queue.send(body)
    scheduler.results.reply(id)
    assert scheduler.event(task.ti.key)[0] == TaskInstanceState.SUCCESS
    scheduler.executor.heartbeat()
    assert scheduler.results.wait_until_empty()
    assert scheduler.dead_letters.wait_until_empty()


def test_what_is_not_ours_is_not_adopted(scheduler: Scheduler) -> None:
    """A task without a usable id is given back to Airflow and takes no slot (W12)."""
    tis = [
        SimpleNamespace(key=workload(str(n)).ti.key, external_executor_id=id)
        for n, id in enumerate([None, "", "x" * 10_000])
    ]
    assert scheduler.executor.try_adopt_task_instances(tis) == tis  # type: ignore[arg-type]
    assert scheduler.executor.slots_available == 4


def test_a_revoked_task_leaves_nothing_behind(scheduler: Scheduler) -> None:
    """Its slot is free, and its late result makes no event (W3)."""
    task = workload("a")
    (id,) = scheduler.queue(task)
    ti = SimpleNamespace(key=task.ti.key, external_executor_id=id)
    scheduler.executor.revoke_task(ti=ti)  # type: ignore[arg-type]
    assert scheduler.executor.slots_available == 4
    scheduler.results.reply(id)
    scheduler.loop_until(lambda: len(scheduler.results) == 0)
    assert scheduler.ends() == {}


def test_a_lost_result_does_not_hold_its_slot_for_ever(
    scheduler: Scheduler, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Once Airflow has not waited for it in two looks, the slot is free and no event is made."""
    task = workload("a")
    scheduler.queue(task)
    scheduler.loop_until(lambda: scheduler.executor._ledger.count(State.IN_FLIGHT))
    assert scheduler.executor._parts
    reconciler = scheduler.executor._parts.reconciler
    monkeypatch.setattr(DatabaseState, "waits_for", lambda *_: set())
    for looks in (1, 2):
        reconciler.look()
        scheduler.executor.heartbeat()
        assert scheduler.executor.slots_available == (3 if looks == 1 else 4)
    assert scheduler.ends() == {}


def test_a_failing_sync_does_not_reach_the_scheduler(
    scheduler: Scheduler, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An unexpected error is logged and the next loop goes on (W4)."""
    task = workload("a")
    (id,) = scheduler.queue(task)
    with monkeypatch.context() as patch:
        patch.setattr(scheduler.executor, "_report_metrics", None)
        scheduler.executor.heartbeat()
    scheduler.results.reply(id)
    assert scheduler.event(task.ti.key)[0] == TaskInstanceState.SUCCESS


def test_ending_sends_what_was_accepted() -> None:
    """A scheduler that ends right after a heartbeat leaves nothing unsent, and does not wait."""
    scheduler = Scheduler(LambdaExecutor(parallelism=1000))
    scheduler.start()
    for n in range(300):
        scheduler.executor.queue_workload(workload(str(n)), session=None)  # type: ignore[arg-type]
    scheduler.executor.heartbeat()
    scheduler.executor.end()
    assert len(scheduler.function.invocations) == 300


@pytest.fixture
def trio() -> Iterator[list[Scheduler]]:
    """Three schedulers that share a deployment with a results queue for each."""
    queues = [MemoryQueue(f"results-{n}") for n in range(3)]
    dead_letters = MemoryQueue("dead-letters")
    schedulers = [
        Scheduler(LambdaExecutor(parallelism=4), dead_letters=dead_letters) for _ in queues
    ]
    for n, one in enumerate(schedulers):
        one.start_sharing(queues, job_id=30 + n)
    yield schedulers
    for one in schedulers:
        one.executor.terminate()


def test_several_schedulers_have_a_results_queue_each(trio: list[Scheduler]) -> None:
    """Each asks for replies to its own, and none sees another's results."""
    tasks = [workload(f"task-{n}") for n in range(3)]
    for one, task in zip(trio, tasks, strict=True):
        (id,) = one.queue(task)
        assert one.function.invocations[0].reply_to == f"https://sqs/{one.results.name}"
        one.results.reply(id)
    for one, task in zip(trio, tasks, strict=True):
        assert one.event(task.ti.key)[0] == TaskInstanceState.SUCCESS
        assert one.executor._parts
        counts = [poller.counts()["handed_back"] for poller in one.executor._parts.pollers]
        assert counts == [0, 0]


def test_results_for_a_dead_scheduler_reach_the_one_that_adopted_its_tasks(
    trio: list[Scheduler],
) -> None:
    """The heir polls every results queue as long as something adopted is in flight."""
    dead, heir, _ = trio
    task = workload("a")
    (id,) = dead.queue(task)
    dead.executor.terminate()
    ti = SimpleNamespace(key=task.ti.key, external_executor_id=id)
    assert heir.executor.try_adopt_task_instances([ti]) == []  # type: ignore[list-item]
    dead.results.reply(id)
    assert heir.event(task.ti.key)[0] == TaskInstanceState.SUCCESS
    heir.loop_until(lambda: len(dead.results) == 0)
    assert heir.executor._parts
    parts = heir.executor._parts
    heir.loop_until(lambda: not parts.heirs)
