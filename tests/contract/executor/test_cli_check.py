"""`airflow lambda-executor check` against AWS's own shapes (moto)."""

from __future__ import annotations

import json
import platform
from collections.abc import Callable
from typing import Any, cast

import boto3
import pytest
from airflow.version import version as airflow_version

from lambda_executor import aws
from lambda_executor.aws import ProbeReply
from lambda_executor.contract.errors import ThrottledError
from lambda_executor.contract.probe import ProbeAnswer
from lambda_executor.contract.wire import WIRE_VERSION
from lambda_executor.core.routing import Target
from tests.support.account import Account
from tests.support.command_line import run, run_json

URL = "https://airflow/execution/"


@pytest.fixture
def healthy(account: Account, monkeypatch: pytest.MonkeyPatch) -> Account:
    """An account where nothing is wrong, with a handler that answers probes."""
    settle_events(OnFailure={"Destination": arn(account.options["dead_letter_queue_url"])})
    boto3.client("logs").create_log_group(logGroupName="/aws/lambda/function")
    account.write_parameter()
    answer_probes(
        monkeypatch,
        ProbeAnswer(airflow_version, platform.python_version(), WIRE_VERSION, URL, "", 3),
    )
    return account


def settle_events(**destinations: Any) -> None:
    """Configure asynchronous invocations; moto has no dead-letter queue of a function."""
    boto3.client("lambda").put_function_event_invoke_config(
        FunctionName="function",
        MaximumRetryAttempts=0,
        MaximumEventAgeInSeconds=540,
        DestinationConfig=cast("Any", destinations),
    )


def answer_probes(monkeypatch: pytest.MonkeyPatch, answer: ProbeAnswer) -> None:
    """Moto runs no handler; this one answers."""
    reply = ProbeReply(json.dumps(answer.encode()).encode())
    monkeypatch.setattr(aws.Inspection, "probe", lambda *_: reply)


def arn(url: str) -> str:
    """The ARN of a queue."""
    answer = boto3.client("sqs").get_queue_attributes(QueueUrl=url, AttributeNames=["QueueArn"])
    return answer["Attributes"]["QueueArn"]


def problems(findings: list[dict[str, str]]) -> set[str]:
    """The findings that have to be fixed."""
    assert all(finding["fix"] for finding in findings if finding["verdict"] == "problem")
    return {finding["subject"] for finding in findings if finding["verdict"] == "problem"}


@pytest.mark.usefixtures("healthy")
def test_a_healthy_environment_is_ok(capfd: pytest.CaptureFixture[str]) -> None:
    """Every check has a finding, and the exit code is 0."""
    code, findings = run_json(capfd, "check")
    assert code == 0
    assert {finding["verdict"] for finding in findings} == {"ok"}
    assert [finding["subject"] for finding in findings] == [
        *("credentials", "configuration", "function", "results queue", "dead-letter queue"),
        *("dead letters", "async retries", "event age", "log"),
        *("Execution API", "Airflow", "Python", "wire"),
    ]


@pytest.mark.usefixtures("healthy")
def test_a_person_reads_a_table(capfd: pytest.CaptureFixture[str]) -> None:
    """One row for each finding, and the count at the end."""
    code, answer = run(capfd, "check")
    assert code == 0
    assert "OK       credentials        arn:aws:sts::" in answer
    assert answer.endswith("13 ok, 0 to fix, 0 unknown\n")


def no_function(_: Account) -> None:
    """Somebody deleted it."""
    boto3.client("lambda").delete_function(FunctionName="function")


def no_dead_letters(account: Account) -> None:
    """Somebody changed the settings by hand."""
    defaults_for_events(account)  # moto does not let a second call change the first.
    settle_events()


def dead_letters_elsewhere(account: Account) -> None:
    """Two environments were mixed up."""
    defaults_for_events(account)
    settle_events(OnFailure={"Destination": arn(account.options["queue_url"])})


def defaults_for_events(_: Account) -> None:
    """A function that was made by hand."""
    boto3.client("lambda").delete_function_event_invoke_config(FunctionName="function")


def no_results_queue(account: Account) -> None:
    """Somebody deleted it."""
    boto3.client("sqs").delete_queue(QueueUrl=account.options["queue_url"])


def short_retention(account: Account) -> None:
    """Results are gone before the longest task has ended."""
    set_queue(account, MessageRetentionPeriod="60")
    boto3.client("lambda").update_function_configuration(FunctionName="function", Timeout=900)


def no_visibility_timeout(account: Account) -> None:
    """Each result is delivered again and again."""
    set_queue(account, VisibilityTimeout="0")


def set_queue(account: Account, **attributes: str) -> None:
    """Change the results queue."""
    boto3.client("sqs").set_queue_attributes(
        QueueUrl=account.options["queue_url"],
        Attributes=cast("Any", attributes),
    )


@pytest.mark.parametrize(
    ("breaks", "expected"),
    [
        (no_function, {"function"}),
        (no_dead_letters, {"dead letters"}),
        (dead_letters_elsewhere, {"dead letters"}),
        (defaults_for_events, {"async retries", "event age", "dead letters"}),
        (no_results_queue, {"results queue"}),
        (short_retention, {"results queue"}),
        (no_visibility_timeout, {"results queue"}),
    ],
)
def test_what_is_broken_is_found(
    healthy: Account,
    capfd: pytest.CaptureFixture[str],
    breaks: Callable[[Account], None],
    expected: set[str],
) -> None:
    """Only that fault is reported, with a fix; the exit code is 1."""
    breaks(healthy)
    code, findings = run_json(capfd, "check")
    assert (code, problems(findings)) == (1, expected)


def test_a_missing_alias_is_distinguished_from_a_missing_function(
    healthy: Account, capfd: pytest.CaptureFixture[str]
) -> None:
    """A missing alias and a missing function have different fixes."""
    healthy.options["function_qualifier"] = "live"
    healthy.write_parameter()
    _, findings = run_json(capfd, "check")
    (finding,) = [finding for finding in findings if finding["subject"] == "function"]
    assert "the function is there, its version or alias 'live' is not" in finding["said"]


def test_what_aws_cannot_answer_now_is_no_problem(
    healthy: Account, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Functions and queues may be fine while AWS throttles, as at the scheduler's start."""
    healthy.options["function_qualifier"] = "live"
    healthy.write_parameter()

    function = aws.Inspection.function

    def throttled(inspection: aws.Inspection, asked: str | Target) -> aws.FunctionFacts:
        if asked == Target("function"):  # Without the alias, which is asked about later.
            return function(inspection, asked)
        raise ThrottledError("Rate exceeded")

    monkeypatch.setattr(aws.Inspection, "function", throttled)
    monkeypatch.setattr(aws.Inspection, "queue", throttled)
    code, findings = run_json(capfd, "check")
    assert (code, problems(findings)) == (0, set())
    unknown = [finding for finding in findings if finding["verdict"] == "unknown"]
    assert [f["subject"] for f in unknown] == ["function", "results queue", "dead-letter queue"]
    assert {f["said"] for f in unknown} == {"Rate exceeded"}


@pytest.mark.usefixtures("account")
def test_a_configuration_that_cannot_be_read_is_a_finding(
    capfd: pytest.CaptureFixture[str],
) -> None:
    """A missing parameter is a finding without a traceback; the credentials are fine."""
    code, findings = run_json(capfd, "check")
    assert code == 1
    assert [(f["subject"], f["verdict"]) for f in findings] == [
        ("credentials", "ok"),
        ("configuration", "problem"),
    ]


@pytest.mark.usefixtures("healthy")
def test_missing_credentials_are_the_only_finding(
    capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without credentials no other check can run."""
    with monkeypatch.context() as within:  # The keys are moto's, and go when it does.
        within.delenv("AWS_ACCESS_KEY_ID")
        within.delenv("AWS_SECRET_ACCESS_KEY")
        within.delenv("AWS_SESSION_TOKEN", raising=False)
        code, findings = run_json(capfd, "check")
    assert code == 1
    assert [(f["subject"], f["verdict"]) for f in findings] == [("credentials", "problem")]
    assert "Unable to locate credentials" in findings[0]["said"]
