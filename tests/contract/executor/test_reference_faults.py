"""Each fault of `AwsLambdaExecutor` that we know of, as a property of ours: W1 to W18.

The marker `reference_fault` names the fault, here and on the tests elsewhere that cover it.
`test_reference_itself.py` shows the same faults in the reference.
"""

from __future__ import annotations

import json
import re
import time

import boto3
import pytest
from airflow.utils.state import TaskInstanceState
from botocore.exceptions import NoCredentialsError

from lambda_executor import LambdaExecutor
from lambda_executor.aws.translation import translate
from lambda_executor.contract.errors import RejectedError, ThrottledError
from lambda_executor.contract.wire import InvocationId, Outcome, Result
from lambda_executor.core.backoff import Backoff
from lambda_executor.core.ledger import State
from lambda_executor.scheduler.executor import CLOSE_TIMEOUT_S
from lambda_executor.scheduler.version import AIRFLOW
from tests.support.account import Account
from tests.support.scheduler import (
    SETTINGS,
    CountedQueue,
    HeldFunction,
    Scheduler,
    orphan,
    started,
    workload,
)

FAULTS = {f"W{number}" for number in range(1, 19)}
CLAIM = re.compile(r'^@pytest\.mark\.reference_fault\("(.*)"\)$', re.MULTILINE)


def test_every_fault_is_claimed_by_a_test(pytestconfig: pytest.Config) -> None:
    """Every known fault has a test, and every test names a known fault."""
    sources = [path.read_text() for path in (pytestconfig.rootpath / "tests").rglob("test_*.py")]
    assert {fault for source in sources for fault in CLAIM.findall(source)} == FAULTS


def access_denied() -> RejectedError:
    """AWS's error for a missing permission."""
    return RejectedError("AccessDenied: not authorized to perform: sqs:ReceiveMessage")


@pytest.mark.reference_fault("W1")
def test_w01_a_duplicate_start_does_not_fail_the_running_task(scheduler: Scheduler) -> None:
    """The second start's report is acknowledged and settles nothing."""
    task = workload("a")
    (id,) = scheduler.queue(task)
    scheduler.results.send(Result(id, 1, Outcome.DUPLICATE))
    scheduler.loop_until(lambda: len(scheduler.results) == 0)
    assert scheduler.ends() == {}
    scheduler.results.reply(id)
    assert scheduler.event(task.ti.key)[0] == TaskInstanceState.SUCCESS


@pytest.mark.reference_fault("W2")
@pytest.mark.skipif(
    AIRFLOW < (3, 1), reason="Airflow 3.0 holds the second half back until the first has ended"
)
def test_w02_a_deferred_tasks_first_result_does_not_settle_its_second_half(
    scheduler: Scheduler,
) -> None:
    """A late result of an earlier dispatch of the same key frees no slot, makes no event."""
    first, resumed = workload("a"), workload("a")
    resumed.ti.id = first.ti.id
    (old,) = scheduler.queue(first)
    (new,) = scheduler.queue(resumed)
    scheduler.results.reply(old)
    scheduler.loop_until(lambda: len(scheduler.results) == 0)
    assert scheduler.ends() == {}
    assert scheduler.executor.slots_available == 3
    scheduler.results.reply(new)
    assert scheduler.event(first.ti.key)[0] == TaskInstanceState.SUCCESS


@pytest.mark.reference_fault("W3")
def test_w03_a_revoked_task_leaves_nothing_behind(scheduler: Scheduler) -> None:
    """The slot is free, and a late result makes no event."""
    task = workload("a")
    (id,) = scheduler.queue(task)
    ti = orphan(task, id)
    scheduler.executor.revoke_task(ti=ti)
    assert scheduler.executor.slots_available == 4
    scheduler.results.reply(id)
    scheduler.loop_until(lambda: len(scheduler.results) == 0)
    assert scheduler.ends() == {}


@pytest.mark.reference_fault("W4")
def test_w04_a_failing_sync_does_not_reach_the_scheduler(
    scheduler: Scheduler, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An unexpected error is logged and the next loop goes on."""
    task = workload("a")
    (id,) = scheduler.queue(task)
    with monkeypatch.context() as patch:
        patch.setattr(scheduler.engine, "_report_metrics", None)
        scheduler.executor.heartbeat()
    scheduler.results.reply(id)
    assert scheduler.event(task.ti.key)[0] == TaskInstanceState.SUCCESS


@pytest.mark.reference_fault("W4")
def test_w04_missing_credentials_pause_and_never_reach_the_scheduler(
    scheduler: Scheduler, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """Without credentials every heartbeat returns and logs an error; with them the task is sent."""
    monkeypatch.setattr("lambda_executor.core.dispatch_queue.CREDENTIALS", Backoff(0.01, 0.01))
    scheduler.function.failures += [translate(NoCredentialsError())] * 3
    task = workload("a")
    (id,) = scheduler.queue(task)
    assert caplog.text.count("credentials do not work") == 3
    scheduler.results.reply(id)
    assert scheduler.event(task.ti.key)[0] == TaskInstanceState.SUCCESS


@pytest.mark.reference_fault("W5")
def test_w05_a_queue_that_may_not_be_read_stops_no_dispatch_and_is_said(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """A denied receive is logged; tasks are sent, and results arrive once it is allowed."""
    monkeypatch.setattr("lambda_executor.engine.poller.RETRY", Backoff(0.01, 0.01))
    results = CountedQueue("results")
    results.failures["receive"] += [access_denied() for _ in range(3)]
    with started(Scheduler(LambdaExecutor(parallelism=4), results=results)) as scheduler:
        tasks = workload("a"), workload("b")
        for task in tasks:
            (id,) = scheduler.queue(task)
            results.reply(id)
            assert scheduler.event(task.ti.key)[0] == TaskInstanceState.SUCCESS
    assert "Cannot read results" in caplog.text
    assert "AccessDenied" in caplog.text


@pytest.mark.reference_fault("W6")
def test_w06_results_of_others_do_not_starve_ours(scheduler: Scheduler) -> None:
    """Our message arrives although ten stale ones fill every receive."""
    for n in range(10):
        scheduler.results.reply(InvocationId(f"stale-{n}"))
    task = workload("a")
    (id,) = scheduler.queue(task)
    scheduler.results.reply(id)
    assert scheduler.event(task.ti.key)[0] == TaskInstanceState.SUCCESS


@pytest.mark.reference_fault("W7")
def test_w07_a_dead_letter_fails_the_task_with_lambdas_words(scheduler: Scheduler) -> None:
    """A dead letter fails the task with Lambda's reason."""
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
    assert scheduler.engine.ledger.state(id) is State.SETTLED


@pytest.mark.reference_fault("W7")
def test_w07_a_destination_record_fails_the_task_with_lambdas_words(scheduler: Scheduler) -> None:
    """Lambda's other format of a dead letter is read as well."""
    task = workload("a")
    (id,) = scheduler.queue(task)
    record = {
        "requestContext": {"requestId": "r-1", "condition": "RetriesExhausted"},
        "requestPayload": {"task_key": id, "command": ["x"]},
        "responsePayload": {"errorMessage": "RequestId: r-1 Error: signal: killed"},
    }
    scheduler.dead_letters.send(json.dumps(record))
    state, info = scheduler.event(task.ti.key)
    assert state == TaskInstanceState.FAILED
    assert "signal: killed" in info


@pytest.mark.reference_fault("W10")
def test_w10_a_backlog_takes_a_tenth_of_the_calls() -> None:
    """200 waiting results take at most 26 receives and 26 deletes, however often Airflow loops."""
    results = CountedQueue("results")
    results.open.clear()
    with started(Scheduler(LambdaExecutor(parallelism=1000), results=results)) as scheduler:
        tasks = [workload(str(n)) for n in range(200)]
        for id in scheduler.queue(*tasks):
            results.reply(id)
        results.open.set()
        scheduler.loop_until(lambda: len(scheduler.ends()) == len(tasks))
        scheduler.executor.get_event_buffer()
        scheduler.executor.heartbeat()
        assert results.wait_until_empty()
    assert results.calls["receive"] <= 26
    assert results.calls["delete"] <= 26


@pytest.mark.reference_fault("W11")
def test_w11_the_scheduler_does_not_wait_for_an_invoke() -> None:
    """A heartbeat returns before any invoke has an answer, and several are under way at once."""
    function = HeldFunction()
    with started(Scheduler(LambdaExecutor(parallelism=100), function=function)) as scheduler:
        for n in range(50):
            scheduler.executor.queue_workload(workload(str(n)), session=None)  # type: ignore[arg-type]
        scheduler.executor.heartbeat()
        for _ in range(SETTINGS.dispatch_threads):
            assert function.asked.acquire(timeout=10)
        assert function.invocations == []
        function.answer.set()
        assert function.wait_for(50)


@pytest.mark.reference_fault("W12")
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
    """The task is returned to Airflow with a short log line, and takes no slot."""
    ti = orphan(workload("a"), id)
    assert scheduler.executor.try_adopt_task_instances([ti]) == [ti]
    assert scheduler.executor.slots_available == 4
    # Airflow logs through logging, through structlog, or through both, by version.
    said = caplog.text + capsys.readouterr().out
    assert "Not adopted" in said
    assert len(said) < 2000


@pytest.mark.reference_fault("W12")
@pytest.mark.parametrize("long", [False, True])
def test_w12_what_the_reference_left_in_flight_is_adopted(scheduler: Scheduler, long: bool) -> None:
    """Its handler answers with the task's key: that settles the task and frees its slot."""
    task = workload("ü" * 250 if long else "a")
    key = task.ti.key
    ti = orphan(task, json.dumps(key._asdict()))
    assert scheduler.executor.try_adopt_task_instances([ti]) == []
    assert scheduler.executor.slots_available == 3
    scheduler.results.send(json.dumps({"task_key": ti.external_executor_id, "return_code": 0}))
    assert scheduler.event(key) == (TaskInstanceState.SUCCESS, None)
    assert scheduler.executor.slots_available == 4


@pytest.mark.reference_fault("W13")
def test_w13_malformed_messages_in_both_queues_hold_nothing_back(scheduler: Scheduler) -> None:
    """Malformed messages are deleted, and the task's own result is taken."""
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


@pytest.mark.reference_fault("W13")
def test_w13_a_report_that_cannot_be_taken_holds_nothing_back(
    scheduler: Scheduler, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An unexpected error with one result is logged; the other results are taken."""

    def refuse(**_: object) -> None:
        raise RuntimeError("the audit log is broken")

    monkeypatch.setattr(scheduler.executor, "log_task_event", refuse)
    tasks = bad, good = workload("bad"), workload("good")
    ids = [id for task in tasks for id in scheduler.queue(task)]
    scheduler.results.reply(ids[0], return_code=1)
    scheduler.results.reply(ids[1])
    poller = scheduler.engine.listeners.own[0]
    with poller._arrived:
        assert poller._arrived.wait_for(lambda: len(poller._arrivals) == len(tasks), 10)
    scheduler.executor.heartbeat()
    assert set(scheduler.ends()) == {bad.ti.key, good.ti.key}


@pytest.mark.reference_fault("W14")
def test_w14_a_refused_delete_holds_nothing_back() -> None:
    """A delete that AWS throttles is logged; the results of that batch and all later ones count."""
    results = CountedQueue("results")
    results.failures["delete"] += [ThrottledError("slow down") for _ in range(2)]
    with started(Scheduler(LambdaExecutor(parallelism=4), results=results)) as scheduler:
        for name in ("a", "b", "c"):
            task = workload(name)
            (id,) = scheduler.queue(task)
            results.reply(id)
            assert scheduler.event(task.ti.key)[0] == TaskInstanceState.SUCCESS
            scheduler.executor.heartbeat()


@pytest.mark.reference_fault("W15")
def test_w15_throttling_burns_no_task(
    scheduler: Scheduler, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A throttled task waits and is sent, even with `max_invoke_attempts` 1."""
    monkeypatch.setattr("lambda_executor.core.dispatch_queue.THROTTLE", Backoff(0.001, 0.001))
    scheduler.function.failures += [ThrottledError("429")] * 20
    task = workload("a")
    scheduler.queue(task)
    assert scheduler.ends() == {}


@pytest.mark.reference_fault("W16")
@pytest.mark.parametrize("qualifier", ["", ":$LATEST"])
def test_w16_a_function_is_named_by_its_arn(account: Account, qualifier: str) -> None:
    """The start accepts a full ARN, with and without a version."""
    arn = boto3.client("lambda").get_function_configuration(FunctionName="function")["FunctionArn"]
    account.options["function_name"] = arn + qualifier
    account.write_parameter()
    started_by_arn = LambdaExecutor(parallelism=1)
    started_by_arn.start()
    started_by_arn.terminate()


@pytest.mark.reference_fault("W17")
def test_w17_ending_does_not_wait_for_what_runs() -> None:
    """With `end_wait_timeout` 0 an ending scheduler leaves it to the next one."""
    with started(Scheduler(LambdaExecutor(parallelism=4))) as scheduler:
        scheduler.queue(workload("a"))
        before_s = time.monotonic()
        scheduler.executor.end()
        assert time.monotonic() - before_s < CLOSE_TIMEOUT_S


@pytest.mark.reference_fault("W17")
def test_w17_ending_sends_what_waits_for_another_try(monkeypatch: pytest.MonkeyPatch) -> None:
    """A task that Lambda throttled a moment ago is sent before the end."""
    monkeypatch.setattr(
        "lambda_executor.core.dispatch_queue.THROTTLE", Backoff(0.05, 0.05, floor=1)
    )
    with started(Scheduler(LambdaExecutor(parallelism=4))) as scheduler:
        scheduler.function.failures += [ThrottledError("429")] * 3
        scheduler.executor.queue_workload(workload("a"), session=None)  # type: ignore[arg-type]
        scheduler.executor.heartbeat()
        scheduler.executor.end()
        assert len(scheduler.function.invocations) == 1


@pytest.mark.reference_fault("W17")
def test_w17_ending_takes_over_what_the_last_heartbeat_had_no_time_for(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A heartbeat takes a part of a long queue; the rest is sent at the end too."""
    monkeypatch.setattr("lambda_executor.scheduler.executor.TAKE_OVER_S", 0)
    with started(Scheduler(LambdaExecutor(parallelism=1000))) as scheduler:
        for n in range(20):
            scheduler.executor.queue_workload(workload(str(n)), session=None)  # type: ignore[arg-type]
        scheduler.executor.heartbeat()
        scheduler.executor.end()
        assert len(scheduler.function.invocations) == 20
