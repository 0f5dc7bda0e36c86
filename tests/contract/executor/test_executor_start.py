"""What `start` says and does against AWS's own shapes (moto)."""

from __future__ import annotations

import gc
import json
import threading

import boto3
import pytest

from lambda_executor import LambdaExecutor, aws
from lambda_executor.contract.errors import ConfigError
from lambda_executor.contract.help import FILES
from lambda_executor.contract.wire import InvocationId
from lambda_executor.engine.poller import hand_back_delay_s
from tests.support import threads
from tests.support.account import PARAMETER, Account
from tests.support.job_account import BATCH, ECS, make_batch, make_ecs
from tests.support.scheduler import Scheduler


def test_the_one_line_is_enough(account: Account) -> None:
    """With the parameter written by the stacks, start succeeds."""
    account.write_parameter()
    executor = LambdaExecutor(parallelism=1)
    executor.start()
    executor.terminate()


@pytest.mark.usefixtures("account")
def test_a_parameter_that_does_not_exist_is_named() -> None:
    """The error has the parameter's name and the Region, one of which is wrong, and a link."""
    reason = rf"'{PARAMETER}' does not exist in Region eu-west-1 .*correct the Region or the name"
    with pytest.raises(ConfigError, match=reason) as refused:
        LambdaExecutor(parallelism=1).start()
    page = "docs/troubleshooting/options.md#the-ssm-parameter-cannot-be-read"
    assert refused.value.__notes__ == [f"See {FILES}{page}"]  # Python's tracebacks end with it.


@pytest.mark.parametrize("value", ["{", "[]", '"x"', '{"function_name": 5}'])
def test_a_parameter_that_holds_no_options_is_named(account: Account, value: str) -> None:
    """Whatever it holds, the error says what it should hold."""
    account.write_parameter(value)
    with pytest.raises(ConfigError, match=r"does not hold a JSON object"):
        LambdaExecutor(parallelism=1).start()


@pytest.mark.parametrize("option", ["function_name", "queue_url", "dead_letter_queue_url"])
def test_what_does_not_exist_is_named_at_the_start(account: Account, option: str) -> None:
    """The health check names the option and AWS's own words."""
    account.options[option] += "-missing"
    account.write_parameter()
    with pytest.raises(ConfigError, match=rf"\[lambda_executor\] {option} cannot be used"):
        LambdaExecutor(parallelism=1).start()


@pytest.mark.parametrize(
    "request_",
    [
        {"batch": {"jobQueue": "missing", "jobDefinition": "task"}},
        {"ecs": {"cluster": "missing", "taskDefinition": "task"}},
    ],
    ids=lambda request: str(*request),
)
def test_a_job_queue_or_a_cluster_that_does_not_exist_is_named_at_the_start(
    account: Account, request_: dict[str, object]
) -> None:
    """The check asks what the executor asks anyway, so that it needs no other permission."""
    make_batch()
    make_ecs()
    usable = {target.service.value: json.loads(target.request) for target in (BATCH, ECS)}
    targets = {service: {service: request} for service, request in usable.items()}
    account.options |= {"targets": json.dumps(targets), "payload_bucket": "payloads"}
    account.write_parameter()
    executor = LambdaExecutor(parallelism=1)
    executor.start()
    executor.terminate()
    account.options["targets"] = json.dumps({**targets, "other": request_})
    account.write_parameter()
    said = r"\[lambda_executor\] targets cannot be used for the queue 'other': "
    with pytest.raises(ConfigError, match=said):
        LambdaExecutor(parallelism=1).start()


def test_the_health_check_can_be_switched_off(
    account: Account, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Then the scheduler starts, and each task fails with the reason instead."""
    monkeypatch.setenv("AIRFLOW__LAMBDA_EXECUTOR__CHECK_HEALTH_ON_STARTUP", "False")
    account.options["function_name"] = "missing"
    account.write_parameter()
    executor = LambdaExecutor(parallelism=1)
    executor.start()
    executor.terminate()


def test_only_the_first_start_of_a_process_freezes_what_exists(account: Account) -> None:
    """Another executor's start would keep what the scheduler needs for a moment, for ever."""
    account.write_parameter()
    first, second = LambdaExecutor(parallelism=1), LambdaExecutor(parallelism=1)
    first.start()
    frozen = gc.get_freeze_count()
    assert frozen > 0
    of_the_moment = [[number] for number in range(10_000)]
    second.start()
    assert gc.get_freeze_count() <= frozen  # Fewer, if some of them were no longer needed.
    assert gc.is_tracked(of_the_moment)
    for executor in (first, second):
        executor.terminate()


@pytest.mark.parametrize(
    "name",
    [
        "lambda-dispatch-0",
        *("lambda-poll-results", "lambda-delete-results"),
        *("lambda-poll-dead-letters", "lambda-delete-dead-letters"),
        "lambda-reconcile",
    ],
)
def test_an_executor_that_gets_no_thread_does_not_start(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whichever thread it is: the start raises, and what had been started takes nothing more."""
    scheduler = Scheduler(LambdaExecutor(parallelism=1))
    before = set(threading.enumerate())
    with monkeypatch.context() as patch:
        threads.refuse(patch, lambda thread: thread.name == name)
        with pytest.raises(RuntimeError, match="can't start new thread"):
            scheduler.start()
    for queue in (scheduler.results, scheduler.dead_letters):
        queue.reply(InvocationId("of another scheduler"))  # Ends a long poll that is open.
    assert threads.have_ended(but=before)
    for queue in (scheduler.results, scheduler.dead_letters):
        assert len(queue.receive(0)) == 1
    scheduler.executor.end()  # As the scheduler does after a start that failed.


def test_the_queue_keeps_the_ports_promises(account: Account) -> None:
    """Attributes and receive count are read, a hand-back hides, a delete deletes (moto)."""
    clients = aws.Clients(boto3.Session, region_name=None, connections=1)
    queue = aws.SqsQueue(clients, account.options["queue_url"])
    boto3.client("sqs").send_message(
        QueueUrl=account.options["queue_url"],
        MessageBody="body",
        MessageAttributes={"RequestID": {"DataType": "String", "StringValue": "r"}},
    )
    (first,) = queue.receive(0)
    assert (first.body, first.receive_count, first.attributes) == ("body", 1, {"RequestID": "r"})
    queue.hand_back([first.receipt], hand_back_delay_s(1))
    (second,) = queue.receive(0)
    assert second.receive_count == 2
    queue.hand_back([second.receipt], hand_back_delay_s(10))
    assert queue.receive(0) == []
    assert queue.delete([second.receipt]) == 0
    assert queue.receive(0) == []
