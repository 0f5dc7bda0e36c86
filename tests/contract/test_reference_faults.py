"""Each fault of `AwsLambdaExecutor` that we know of, as a property of ours: W1 to W18."""

from __future__ import annotations

import json
from types import SimpleNamespace

import pytest
from airflow.utils.state import TaskInstanceState

from lambda_executor.airflow_compat import AIRFLOW
from lambda_executor.ledger import State
from lambda_executor.wire import Outcome, Result
from tests.contract.scheduling import Scheduler, workload


def test_w01_a_duplicate_start_does_not_fail_the_running_task(scheduler: Scheduler) -> None:
    """The second start's report is acknowledged and settles nothing."""
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
def test_w02_a_deferred_tasks_first_result_does_not_settle_its_second_half(
    scheduler: Scheduler,
) -> None:
    """A late result of an earlier dispatch of the same key frees no slot, makes no event."""
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


def test_w03_a_revoked_task_leaves_nothing_behind(scheduler: Scheduler) -> None:
    """Its slot is free, and its late result makes no event."""
    task = workload("a")
    (id,) = scheduler.queue(task)
    ti = SimpleNamespace(key=task.ti.key, external_executor_id=id)
    scheduler.executor.revoke_task(ti=ti)  # type: ignore[arg-type]
    assert scheduler.executor.slots_available == 4
    scheduler.results.reply(id)
    scheduler.loop_until(lambda: len(scheduler.results) == 0)
    assert scheduler.ends() == {}


def test_w04_a_failing_sync_does_not_reach_the_scheduler(
    scheduler: Scheduler, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An unexpected error is logged and the next loop goes on."""
    task = workload("a")
    (id,) = scheduler.queue(task)
    with monkeypatch.context() as patch:
        patch.setattr(scheduler.executor, "_report_metrics", None)
        scheduler.executor.heartbeat()
    scheduler.results.reply(id)
    assert scheduler.event(task.ti.key)[0] == TaskInstanceState.SUCCESS


def test_w07_a_dead_letter_fails_the_task_with_lambdas_words(scheduler: Scheduler) -> None:
    """What Lambda gave up on comes back over the dead-letter queue with its reason."""
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


@pytest.mark.parametrize(
    "id",
    [
        *(None, "", "x", "x" * 10_000, "5", "[]", "[" * 10_000),
        '{"dag_id": "dag", "task_id": "other", "run_id": "run", "try_number": 1, "map_index": -1}',
    ],
    ids=["none", "empty", "word", "long word", "number", "list", "nested", "other task"],
)
def test_w12_what_names_no_invocation_is_not_adopted(
    scheduler: Scheduler,
    id: str | None,
    caplog: pytest.LogCaptureFixture,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """It is given back to Airflow with a short log line and takes no slot."""
    ti = SimpleNamespace(key=workload("a").ti.key, external_executor_id=id)
    assert scheduler.executor.try_adopt_task_instances([ti]) == [ti]  # type: ignore[list-item]
    assert scheduler.executor.slots_available == 4
    # Airflow logs through logging, through structlog, or through both, by version.
    said = caplog.text + capsys.readouterr().out
    assert "Not adopted" in said
    assert len(said) < 2000


@pytest.mark.parametrize("long", [False, True])
def test_w12_what_the_reference_left_in_flight_is_adopted(scheduler: Scheduler, long: bool) -> None:
    """Its handler answers with the task's key: that settles the task and frees its slot."""
    key = workload("ü" * 250 if long else "a").ti.key
    ti = SimpleNamespace(key=key, external_executor_id=json.dumps(key._asdict()))
    assert scheduler.executor.try_adopt_task_instances([ti]) == []  # type: ignore[list-item]
    assert scheduler.executor.slots_available == 3
    scheduler.results.send(json.dumps({"task_key": ti.external_executor_id, "return_code": 0}))
    assert scheduler.event(key) == (TaskInstanceState.SUCCESS, None)
    assert scheduler.executor.slots_available == 4


def test_w13_malformed_messages_in_both_queues_hold_nothing_back(scheduler: Scheduler) -> None:
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
