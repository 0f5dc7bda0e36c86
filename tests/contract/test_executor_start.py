"""What `start` says and does against AWS's own shapes (moto)."""

from __future__ import annotations

import argparse
import json

import boto3
import pytest
from airflow.cli.cli_config import ActionCommand, GroupCommand

from lambda_executor import LambdaExecutor, aws
from lambda_executor.cli import get_cli_commands
from lambda_executor.errors import ConfigError
from lambda_executor.poller import hand_back_delay_s
from tests.contract.account import PARAMETER, Account


def test_the_one_line_is_enough(account: Account) -> None:
    """With the parameter written by the stacks, start succeeds."""
    account.write_parameter()
    executor = LambdaExecutor(parallelism=1)
    executor.start()
    executor.terminate()


@pytest.mark.usefixtures("account")
def test_a_parameter_that_does_not_exist_is_named() -> None:
    """The error has the parameter's name and what to check."""
    with pytest.raises(ConfigError, match=rf"'{PARAMETER}' cannot be read.*check the stage"):
        LambdaExecutor(parallelism=1).start()


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
    assert queue.check() == 0


def test_the_check_command_reports_what_the_scheduler_would_find(
    account: Account, capsys: pytest.CaptureFixture[str]
) -> None:
    """Each option has a line, a problem has a fix, and the exit code tells."""
    account.write_parameter()
    assert run_check(capsys) == (0, [True, True, True])
    account.options["function_name"] = "missing"
    account.write_parameter()
    assert run_check(capsys) == (1, [False, True, True])


@pytest.mark.usefixtures("account")
def test_the_check_command_reports_a_configuration_that_cannot_be_read(
    capsys: pytest.CaptureFixture[str],
) -> None:
    """A missing parameter is a finding and not a traceback."""
    assert run_check(capsys) == (1, [False])


def run_check(capsys: pytest.CaptureFixture[str]) -> tuple[int, list[bool]]:
    """Run `airflow lambda-executor check --json`; exit code and verdicts."""
    (group,) = get_cli_commands()
    assert isinstance(group, GroupCommand)
    (command,) = [c for c in group.subcommands if c.name == "check"]
    assert isinstance(command, ActionCommand)
    with pytest.raises(SystemExit) as exited:
        command.func(argparse.Namespace(json=True))
    findings = json.loads(capsys.readouterr().out)
    assert all(finding["ok"] or finding["said"] for finding in findings)
    return int(exited.value.code or 0), [finding["ok"] for finding in findings]
