"""The executor keeps its promises to Airflow's scheduler, with Lambda and SQS in memory."""

from __future__ import annotations

import base64
import itertools
import json
from collections.abc import Iterator
from types import SimpleNamespace

import pytest
from airflow.utils.state import TaskInstanceState

from lambda_executor import LambdaExecutor
from lambda_executor.contract.errors import RejectedError
from lambda_executor.contract.help import FILES
from lambda_executor.contract.wire import Outcome, Result
from lambda_executor.core.ledger import State
from lambda_executor.scheduler import executor as executor_module
from lambda_executor.scheduler.compat import WorkloadType, external_id_of
from lambda_executor.scheduler.state import DatabaseState
from lambda_executor.scheduler.version import AIRFLOW
from lambda_executor.testing import MemoryQueue
from tests.support import threads
from tests.support.scheduler import (
    SETTINGS,
    TOKEN,
    HeldFunction,
    Scheduler,
    named,
    orphan,
    started,
    workload,
)


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
    ti = orphan(task, id)
    assert heir.executor.try_adopt_task_instances([ti]) == []
    assert heir.executor.slots_available == 3
    now_s[0] = 31
    heir.results.send("wake the long poll")
    assert heir.event(task.ti.key) == (TaskInstanceState.SUCCESS, None)
    heir.executor.terminate()


def test_a_failure_carries_its_reason_to_the_user(scheduler: Scheduler) -> None:
    """The reason, request id and log stream are the event's info and in Airflow's audit log."""
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


def test_the_event_log_has_the_link_of_a_reason(scheduler: Scheduler) -> None:
    """A person reads it there; the event's info is the reason alone."""
    task = workload("a")
    (id,) = scheduler.queue(task)
    scheduler.dead_letters.send(json.dumps({"task_key": id}), {"ErrorMessage": "signal: killed"})
    _, info = scheduler.event(task.ti.key)
    (entry,) = scheduler.executor._task_event_logs
    page = "docs/troubleshooting/tasks.md#lambda-gave-up"
    assert entry.extra == f"{info} (see {FILES}{page})"


def test_the_reason_of_a_tasks_target_is_in_the_event_log(scheduler: Scheduler) -> None:
    """The task policy has put it into `executor_config`; a task without one has no entry."""
    routed = workload("a", executor_config={"lambda_executor": {"routed": "sent to long"}})
    scheduler.queue(routed, workload("b"))
    (entry,) = scheduler.executor._task_event_logs
    assert entry.event == "lambda executor routing"
    assert (entry.task_id, (entry.extra or "").endswith("sent to long")) == ("a", True)


def test_a_failure_is_told_once_also_when_the_event_log_is_broken(
    scheduler: Scheduler, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The event of a failure that the scheduler has taken is not made again for its log entry."""

    def refuse(**_: object) -> None:
        raise RuntimeError("the audit log is broken")

    monkeypatch.setattr(scheduler.executor, "log_task_event", refuse)
    task = workload("a")
    (id,) = scheduler.queue(task)
    scheduler.results.reply(id, return_code=1)
    assert scheduler.event(task.ti.key)[0] == TaskInstanceState.FAILED
    scheduler.executor.heartbeat()
    assert scheduler.ends() == {}


@pytest.mark.reference_fault("W15")
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


@pytest.mark.reference_fault("W18")
def test_the_queue_selects_the_function(scheduler: Scheduler) -> None:
    """A task of a mapped queue runs on that function, an unknown queue names the known ones."""
    scheduler.queue(workload("a"), workload("b", queue="large"))
    assert sorted(map(str, scheduler.function.targets)) == ["function", "function-large:live"]
    lost = workload("c", queue="gpu")
    scheduler.executor.queue_workload(lost, session=None)  # type: ignore[arg-type]
    state, info = scheduler.event(lost.ti.key)
    assert state == TaskInstanceState.FAILED
    assert "no target serves the queue 'gpu'; known queues: default, large" in info


def test_a_workload_whose_token_has_run_out_is_not_sent(scheduler: Scheduler) -> None:
    """It fails with that reason, which names this Airflow's option, and is never sent."""
    claims = base64.urlsafe_b64encode(b'{"exp": 1000}').decode().rstrip("=")
    task = workload("a", token=f"x.{claims}.y")
    scheduler.executor.queue_workload(task, session=None)  # type: ignore[arg-type]
    state, info = scheduler.event(task.ti.key)
    assert state == TaskInstanceState.FAILED
    assert "token ran out" in info
    option = "[execution_api] jwt_expiration_time" if AIRFLOW < (3, 2) else "task_queued_timeout"
    assert f"{option}, or find out why it waits" in info
    assert scheduler.function.invocations == []


def test_a_heartbeat_takes_over_no_more_than_there_is_time_for(
    scheduler: Scheduler, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What is left keeps its place in Airflow's queue, and the next heartbeats take it."""
    monkeypatch.setattr(executor_module, "TAKE_OVER_S", 0)
    tasks = [workload(name) for name in "abc"]
    for task in tasks:
        scheduler.executor.queue_workload(task, session=None)  # type: ignore[arg-type]
    for taken in (1, 2, 3):
        scheduler.executor.heartbeat()
        executor, keys = scheduler.executor, [task.ti.key for task in tasks]
        queue = executor.executor_queues[WorkloadType.EXECUTE_TASK]
        assert sorted(map(named, executor.running)) == keys[:taken]
        assert list(map(named, queue)) == keys[taken:]
    assert scheduler.function.wait_for(3)


def test_a_heartbeat_takes_over_more_than_there_is_time_for_if_more_is_sent_until_the_next(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """With one heartbeat a second the rate follows the sends, not the time to take over."""
    now_s = itertools.count(step=0.001)  # So there is time for 25 workloads.
    monkeypatch.setattr(executor_module, "time", SimpleNamespace(monotonic=lambda: next(now_s)))
    function = HeldFunction()
    with started(Scheduler(LambdaExecutor(parallelism=1000), function=function)) as scheduler:
        for number in range(400):
            scheduler.executor.queue_workload(workload(str(number)), session=None)  # type: ignore[arg-type]
        taken = []
        for _ in range(5):
            before = len(scheduler.executor.running)
            scheduler.executor.heartbeat()
            taken.append(len(scheduler.executor.running) - before)
            # Until the next heartbeat, and not before the end of this one, everything is sent.
            function.answer.set()
            assert scheduler.engine.dispatcher.drain(10) == 0
            function.answer.clear()
    assert taken[0] == 25
    for earlier, later in itertools.pairwise(taken):
        assert later >= 1.5 * earlier, taken


def test_a_heartbeat_takes_over_what_there_is_time_for_if_little_is_sent(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """What is pending already counts, so the scheduler is not held up by what cannot be sent."""
    now_s = itertools.count(step=0.001)
    monkeypatch.setattr(executor_module, "time", SimpleNamespace(monotonic=lambda: next(now_s)))
    function = HeldFunction()
    with started(Scheduler(LambdaExecutor(parallelism=1000), function=function)) as scheduler:
        for number in range(200):
            scheduler.executor.queue_workload(workload(str(number)), session=None)  # type: ignore[arg-type]
        for heartbeats in (1, 2, 3):
            scheduler.executor.heartbeat()
            assert len(scheduler.executor.running) == 25 * heartbeats
        function.answer.set()


def test_a_lost_result_does_not_hold_its_slot_for_ever(
    scheduler: Scheduler, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Once Airflow has not waited for it in two looks, the slot is free and no event is made."""
    task = workload("a")
    scheduler.queue(task)
    scheduler.loop_until(lambda: scheduler.engine.ledger.count(State.IN_FLIGHT))
    reconciler = scheduler.engine.reconciler
    monkeypatch.setattr(DatabaseState, "waits_for", lambda *_: set())
    monkeypatch.setattr(DatabaseState, "unowned", lambda _: {})
    for looks in (1, 2):
        reconciler.check()
        scheduler.executor.heartbeat()
        assert scheduler.executor.slots_available == (3 if looks == 1 else 4)
    assert scheduler.ends() == {}


@pytest.mark.reference_fault("W17")
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
        counts = [poller.counts()["handed_back"] for poller in one.engine.listeners.own]
        assert counts == [0, 0]


def test_results_for_a_dead_scheduler_reach_the_one_that_adopted_its_tasks(
    trio: list[Scheduler],
) -> None:
    """The heir polls every results queue as long as something adopted is in flight."""
    dead, heir, _ = trio
    task = workload("a")
    (id,) = dead.queue(task)
    dead.executor.terminate()
    ti = orphan(task, id)
    assert heir.executor.try_adopt_task_instances([ti]) == []
    dead.results.reply(id)
    assert heir.event(task.ti.key)[0] == TaskInstanceState.SUCCESS
    heir.loop_until(lambda: len(dead.results) == 0)
    heir.loop_until(lambda: not heir.engine.listeners.foreign)


@pytest.mark.parametrize("name", ["lambda-poll-results-0", "lambda-delete-results-2"])
def test_other_queues_are_polled_once_the_machine_gives_threads_again(
    name: str, trio: list[Scheduler], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Adopting does not fail for lack of a thread, and each later sync tries again."""
    dead, heir, other = trio
    tasks = {queue: workload(queue.name) for queue in (dead.results, other.results)}
    ids = {queue: dead.queue(task)[0] for queue, task in tasks.items()}
    dead.executor.terminate()
    with monkeypatch.context() as patch:
        threads.refuse(patch, lambda thread: thread.name == name)
        for queue, task in tasks.items():
            ti = orphan(task, ids[queue])
            assert heir.executor.try_adopt_task_instances([ti]) == []
        heir.executor.heartbeat()
    for queue, task in tasks.items():
        queue.reply(ids[queue])
        assert heir.event(task.ti.key)[0] == TaskInstanceState.SUCCESS
        heir.executor.heartbeat()
        assert queue.wait_until_empty()
