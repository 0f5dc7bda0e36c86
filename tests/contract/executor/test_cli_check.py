"""`airflow lambda-executor check` against AWS's own shapes (moto)."""

from __future__ import annotations

import json
import platform
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any, cast

import boto3
import pytest
from airflow.version import version as airflow_version
from botocore.client import BaseClient
from sqlalchemy import Engine, create_engine
from sqlalchemy.orm import sessionmaker

from lambda_executor import aws
from lambda_executor.aws import AccountFacts, ProbeReply
from lambda_executor.contract.errors import RejectedError, ThrottledError
from lambda_executor.contract.help import FILES
from lambda_executor.contract.probe import BundleAnswer, ProbeAnswer
from lambda_executor.contract.wire import WIRE_VERSION
from lambda_executor.core.targets import FunctionTarget
from lambda_executor.ops import tasks
from tests.support.account import PARAMETER, Account
from tests.support.airflow_database import add_dag, add_scheduler
from tests.support.command_line import run, run_json
from tests.support.job_account import BATCH, ECS, make_batch, make_ecs

URL = "https://airflow/execution/"
DOCTORS = f"{FILES}docs/troubleshooting/"
ANSWER = ProbeAnswer(
    airflow_version,
    platform.python_version(),
    WIRE_VERSION,
    URL,
    "",
    3,
    5,
    {"dags-folder": BundleAnswer("image")},
)


@pytest.fixture
def healthy(account: Account, database: Engine, monkeypatch: pytest.MonkeyPatch) -> Account:
    """An account where nothing is wrong, with a handler that answers probes, and an Airflow."""
    settle_events(OnFailure={"Destination": arn(account.options["dead_letter_queue_url"])})
    boto3.client("logs").create_log_group(logGroupName="/aws/lambda/function")
    account.write_parameter()
    answer_probes(monkeypatch, ANSWER)
    # moto has no GetAccountSettings.
    monkeypatch.setattr(aws.Inspection, "account", lambda _: AccountFacts(1000, 900))
    # Some tests have two schedulers, whose workloads Airflow's own connections would not do for.
    monkeypatch.setenv("AIRFLOW__DATABASE__SQL_ALCHEMY_MAX_OVERFLOW", "60")
    add_scheduler(database)
    add_dag(database, "team/daily.py")
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
    assert all(f["fix"] and f["command"] for f in findings if f["verdict"] == "problem")
    assert all(f["help"].startswith(DOCTORS) for f in findings if f["verdict"] == "problem")
    return {finding["subject"] for finding in findings if finding["verdict"] == "problem"}


@pytest.mark.usefixtures("healthy")
def test_a_healthy_environment_is_ok(capfd: pytest.CaptureFixture[str]) -> None:
    """Every check has a finding, and the exit code is 0."""
    code, findings = run_json(capfd, "check")
    assert code == 0
    assert {(finding["verdict"], finding["help"]) for finding in findings} == {("ok", "")}
    assert [finding["subject"] for finding in findings] == [
        *("executor", "scheduler", "options", "Region", "credentials", "configuration"),
        *("concurrency", "function", "results queue", "dead-letter queue", "reservation"),
        *("dead letters", "async retries", "event age", "log"),
        *("Execution API", "Airflow", "Python", "wire", "DAG files"),
    ]


@pytest.mark.usefixtures("healthy")
def test_the_doctor_changes_nothing(
    database: Engine, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """It only reads, from AWS and from Airflow's database."""
    operations: set[str] = set()
    real = BaseClient._make_api_call  # type: ignore[attr-defined]

    def recorded(client: Any, operation: str, arguments: dict[str, Any]) -> Any:
        operations.add(operation)
        return real(client, operation, arguments)

    monkeypatch.setattr(BaseClient, "_make_api_call", recorded)
    file = Path(str(database.url.database))
    before = file.read_bytes()
    code, _ = run_json(capfd, "check")
    assert code == 0
    assert file.read_bytes() == before
    assert {"GetFunction", "GetQueueAttributes", "GetParameter"} <= operations
    assert {name for name in operations if not name.startswith(("Get", "List", "Filter"))} == set()


@pytest.mark.usefixtures("healthy")
def test_a_person_reads_a_table(capfd: pytest.CaptureFixture[str]) -> None:
    """One row for each finding, and the count at the end."""
    code, answer = run(capfd, "check")
    assert code == 0
    assert "OK       credentials        arn:aws:sts::" in answer
    assert "OK       Region             eu-west-1, https://lambda.eu-west-1.amazonaws.com" in answer
    assert answer.endswith("20 ok, 0 to fix, 0 unknown\n")


def test_the_targets_have_rows_of_their_own(
    healthy: Account, capfd: pytest.CaptureFixture[str]
) -> None:
    """The jobs that the parameter names are checked like its functions."""
    make_batch()
    make_ecs()
    targets = {t.name: {t.service.value: json.loads(t.request)} for t in (BATCH, ECS)}
    healthy.options |= {"targets": json.dumps(targets), "payload_bucket": "payloads"}
    healthy.write_parameter()
    code, findings = run_json(capfd, "check")
    assert code == 0
    assert [(f["of"], f["subject"]) for f in findings if f["of"] in ("batch:long", "ecs:huge")] == [
        *(("batch:long", s) for s in ("job queue", "job definition", "jobs")),
        *(("ecs:huge", s) for s in ("cluster", "task definition", "jobs")),
    ]
    assert [f["of"] for f in findings if f["subject"] == "longest wait"] == [""]


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
    assert "the function is there, its version or alias 'live' is not" in finding["detail"]


def test_what_aws_cannot_answer_now_is_no_problem(
    healthy: Account, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Functions and queues may be fine while AWS throttles, as at the scheduler's start."""
    healthy.options["function_qualifier"] = "live"
    healthy.write_parameter()

    function = aws.Inspection.function

    def throttled(inspection: aws.Inspection, asked: str | FunctionTarget) -> aws.FunctionFacts:
        if asked == FunctionTarget("function"):  # Without the alias, which is asked about later.
            return function(inspection, asked)
        raise ThrottledError("Rate exceeded")

    monkeypatch.setattr(aws.Inspection, "function", throttled)
    monkeypatch.setattr(aws.Inspection, "queue", throttled)
    code, findings = run_json(capfd, "check")
    assert (code, problems(findings)) == (0, set())
    unknown = [finding for finding in findings if finding["verdict"] == "unknown"]
    assert [f["subject"] for f in unknown] == ["function", "results queue", "dead-letter queue"]
    place = "eu-west-1, https://lambda.eu-west-1.amazonaws.com"
    assert {f["detail"] for f in unknown} == {f"Rate exceeded (asked in {place})"}


@pytest.mark.usefixtures("healthy")
def test_the_fix_of_a_person_stands_on_a_line_of_its_own(
    capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """In a terminal of 80 columns the sentences are wrapped, and the command is not."""
    monkeypatch.setenv("COLUMNS", "80")
    defaults_for_events(Account({}))
    code, answer = run(capfd, "check")
    lines = answer.splitlines()
    assert code == 1
    commands = [line.strip() for line in lines if line.strip().startswith("aws lambda put-")]
    assert len(commands) == 3
    assert len(set(commands)) == 1  # One is enough.
    assert commands[0].endswith("--region eu-west-1")
    links = {line.strip() for line in lines if FILES in line}
    section = "rows-async-retries-event-age-dead-letters-somebody-changed-the-function"
    assert links == {f"{DOCTORS}doctor.md#{section}"}
    too_long = [line for line in lines if len(line) > 80 and line.strip() not in commands]
    assert all(" " not in line.strip() for line in too_long), too_long  # Names stay whole.


@pytest.mark.parametrize(
    ("executor_class", "silent_s", "expected"),
    [(None, 0, {"scheduler"}), ("another.Executor", 0, {"scheduler"}), (None, 3600, set())],
)
@pytest.mark.usefixtures("healthy")
def test_the_live_schedulers_are_compared(
    database: Engine,
    capfd: pytest.CaptureFixture[str],
    executor_class: str | None,
    silent_s: float,
    expected: set[str],
) -> None:
    """A scheduler that this executor never signed runs another one; a dead one runs nothing."""
    add_scheduler(database, executor_class=executor_class, silent_s=silent_s)
    _, findings = run_json(capfd, "check")
    assert problems(findings) == expected


@pytest.mark.usefixtures("healthy")
def test_dag_files_are_compared_with_those_of_airflow(
    database: Engine,
    capfd: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The probe asks for the files of every DAG that is not stale."""
    add_dag(database, "team/weekly.py")
    add_dag(database, "gone.py", is_stale=True)
    asked = []

    def probe(_: aws.Inspection, __: FunctionTarget, dag_files: Any) -> ProbeReply:
        asked.append(dag_files)
        missing = BundleAnswer("image", missing=("team/weekly.py",))
        answer = replace(ANSWER, bundles={"dags-folder": missing})
        return ProbeReply(json.dumps(answer.encode()).encode())

    monkeypatch.setattr(aws.Inspection, "probe", probe)
    _, findings = run_json(capfd, "check")
    assert asked == [{"dags-folder": ["team/daily.py", "team/weekly.py"]}]
    assert problems(findings) == {"DAG files"}


@pytest.mark.usefixtures("healthy")
def test_a_misspelt_option_is_found(
    capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Airflow ignores it in silence."""
    monkeypatch.setenv("AIRFLOW__LAMBDA_EXECUTOR__FUNKTION_NAME", "f")
    _, findings = run_json(capfd, "check")
    assert problems(findings) == {"options"}


@pytest.mark.usefixtures("healthy")
def test_a_missing_permission_is_named_and_ends_nothing(
    capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """What only the doctor reads is unknown then; the other checks have their answers."""

    def denied(*_: object) -> AccountFacts:
        raise RejectedError("User: x is not authorized", "AccessDeniedException")

    for name in ("account", "reserved_concurrency", "events"):
        monkeypatch.setattr(aws.Inspection, name, denied)
    code, findings = run_json(capfd, "check")
    assert (code, problems(findings)) == (0, set())
    unknown = {f["subject"]: f["fix"] for f in findings if f["verdict"] == "unknown"}
    assert "allow lambda:GetAccountSettings;" in unknown["concurrency"]
    assert "allow lambda:GetFunction;" in unknown["reservation"]
    assert "allow lambda:GetFunctionEventInvokeConfig;" in unknown["async invocation"]
    assert findings[-1]["subject"] == "DAG files"


@pytest.mark.usefixtures("healthy")
def test_a_database_that_is_away_ends_nothing(
    capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """What AWS knows is found all the same."""
    nothing = sessionmaker(create_engine("sqlite://")).begin
    monkeypatch.setattr(tasks, "create_session", nothing)
    code, findings = run_json(capfd, "check")
    assert (code, problems(findings)) == (0, set())
    unknown = {f["subject"]: f["detail"] for f in findings if f["verdict"] == "unknown"}
    assert set(unknown) == {"scheduler", "DAG files"}
    assert all("Airflow's database cannot be read" in said for said in unknown.values())
    assert "wire" in {f["subject"] for f in findings if f["verdict"] == "ok"}


@pytest.mark.usefixtures("database", "account")
def test_a_wrong_region_is_named(
    capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A parameter that is not there may be in another Region; the command lists what is here."""
    monkeypatch.setenv("AIRFLOW__LAMBDA_EXECUTOR__REGION_NAME", "us-west-2")
    _, findings = run_json(capfd, "check")
    (finding,) = [f for f in findings if f["subject"] == "configuration"]
    assert f"SSM parameter '{PARAMETER}' does not exist in Region us-west-2" in finding["detail"]
    assert "correct the Region or the name" in finding["fix"]
    assert finding["command"].startswith("aws ssm describe-parameters --region us-west-2")
    (region,) = [f for f in findings if f["subject"] == "Region"]
    assert region["detail"] == "us-west-2, https://lambda.us-west-2.amazonaws.com"


@pytest.mark.usefixtures("database")
def test_an_endpoint_that_cannot_be_reached_is_named(
    capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is not mistaken for missing credentials, and its address can be tried."""
    url = "http://127.0.0.1:9"  # The port that discards: nothing listens there.
    for name, value in {
        "AWS_ENDPOINT_URL": url,
        "AWS_ACCESS_KEY_ID": "AKIAIOSFODNN7EXAMPLE",
        "AWS_SECRET_ACCESS_KEY": "secret",
        "AIRFLOW__LAMBDA_EXECUTOR__CONFIG_PARAMETER": PARAMETER,
        "AIRFLOW__LAMBDA_EXECUTOR__REGION_NAME": "eu-west-1",
    }.items():
        monkeypatch.setenv(name, value)
    _, findings = run_json(capfd, "check")
    by_subject = {f["subject"]: f for f in findings}
    assert by_subject["Region"]["detail"] == f"eu-west-1, {url}"
    assert by_subject["credentials"]["verdict"] == "unknown"
    assert by_subject["configuration"]["verdict"] == "problem"
    for subject in ("credentials", "configuration"):
        assert f"{url} cannot be reached" in by_subject[subject]["detail"]
        assert by_subject[subject]["command"].startswith("curl ")
        assert "credentials" not in by_subject[subject]["fix"]


@pytest.mark.usefixtures("healthy")
def test_a_network_without_a_way_to_sts_hides_nothing_else(
    capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where only endpoints are, STS may have none: every other check runs, and none is to fix."""
    monkeypatch.setenv("AWS_ENDPOINT_URL_STS", "http://127.0.0.1:9")
    code, findings = run_json(capfd, "check")
    assert code == 0
    by_subject = {f["subject"]: f for f in findings}
    assert by_subject["credentials"]["verdict"] == "unknown"
    assert "com.amazonaws.eu-west-1.sts" in by_subject["credentials"]["fix"]
    assert "the executor never calls it" in by_subject["credentials"]["fix"]
    others = [f["verdict"] for f in findings if f["subject"] != "credentials"]
    assert others == ["ok"] * 19


@pytest.mark.usefixtures("account", "database")
def test_a_configuration_that_cannot_be_read_is_a_finding(
    capfd: pytest.CaptureFixture[str],
) -> None:
    """A missing parameter is a finding without a traceback; the credentials are fine."""
    code, findings = run_json(capfd, "check")
    assert code == 1
    assert [(f["subject"], f["verdict"]) for f in findings[2:]] == [
        ("options", "ok"),
        ("Region", "ok"),
        ("credentials", "ok"),
        ("configuration", "problem"),
    ]


@pytest.mark.usefixtures("healthy")
def test_missing_credentials_are_the_last_finding(
    capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without credentials no other check of AWS can run."""
    with monkeypatch.context() as within:  # The keys are moto's, and go when it does.
        within.delenv("AWS_ACCESS_KEY_ID")
        within.delenv("AWS_SECRET_ACCESS_KEY")
        within.delenv("AWS_SESSION_TOKEN", raising=False)
        code, findings = run_json(capfd, "check")
    assert code == 1
    assert problems(findings) == {"credentials"}
    assert findings[-1]["subject"] == "credentials"
    assert "Unable to locate credentials" in findings[-1]["detail"]
