"""The demo with three DAGs: deploy, run, report, destroy.

These are the same modules as in `make demo`.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import psutil
import pytest
from botocore.exceptions import ClientError
from sqlalchemy import make_url

from demo import paths, run_once
from demo.installation import dag_files, environment, leftovers
from demo.installation.project import Project
from demo.machine import process_table
from demo.outcome import exercise, summary
from demo.screen import Screen
from tests.support.html_page import Page

pytestmark = pytest.mark.timeout(900)  # The first test waits for all of it, on any machine.

HOME = paths.Home(paths.ROOT / "build" / "e2e")
PROJECT = Project((dag_files.TASKFLOW, dag_files.RETRY, dag_files.LARGE))
SECRETS = (
    "AIRFLOW__API_AUTH__JWT_SECRET",
    "AIRFLOW__API__SECRET_KEY",
    "AIRFLOW__CORE__FERNET_KEY",
    "AIRFLOW__DATABASE__SQL_ALCHEMY_CONN",
)
#: The head of every JSON Web Token, as task tokens are: `{"` in base64.
TOKEN_HEAD = "eyJ"


@dataclass(frozen=True)
class Story:
    """The observations that the tests check."""

    ended: exercise.Ended
    unexpected: list[str]
    deployed: list[leftovers.Resource]
    left: list[leftovers.Resource]
    processes_left: list[str]
    folders_left: list[str]
    secrets: list[str]
    denied: dict[str, str]
    objects_left: int
    function_log: str
    terminal: list[str]

    def of(self, dag_id: str) -> list[tuple[str, int, str]]:
        """Task, try and state of one DAG, in order."""
        return [
            (row.key.task_id, row.key.try_number, row.state)
            for row in self.ended.rows
            if row.key.dag_id == dag_id
        ]


@pytest.fixture(scope="module")
def story() -> Story:
    """One environment, from nothing to nothing."""
    before = process_table.descendants()
    screen = Screen()
    with environment.running(HOME, PROJECT, screen) as here:
        ended = exercise.run_all(here)
        deployed = here.deployed()
        denied = _denied_to_the_scheduler(here)
        objects_left = here.aws.client("s3").list_objects_v2(
            Bucket=here.outputs["PayloadBucketName"]
        )["KeyCount"]
        function_log = _function_log(here)
        password = make_url(here.airflow.settings["AIRFLOW__DATABASE__SQL_ALCHEMY_CONN"]).password
        assert password
        left = here.take_down()
        unexpected = ended.unexpected(here)
        totals = summary.totals(ended.rows, ended.wall_s, here.concurrency)
    how = run_once.course(screen, "make demo", totals, unexpected)
    run_once.write_report(HOME, ended, how)
    with screen.console.capture() as terminal:
        screen.show(summary.by_dag(ended.runs, ended.rows, 80))
    return Story(
        ended=ended,
        unexpected=unexpected,
        deployed=deployed,
        left=left,
        processes_left=[
            process.name()
            for process in process_table.descendants() - before
            if process.status() != psutil.STATUS_ZOMBIE
        ],
        folders_left=[str(folder) for folder in here.folders_outside if folder.exists()],
        secrets=[here.airflow.settings[name] for name in SECRETS] + [password],
        denied=denied,
        objects_left=objects_left,
        function_log=function_log,
        terminal=terminal.get().splitlines() + totals,
    )


def _function_log(here: environment.Environment) -> str:
    """Every line that is in the log group of the function."""
    paginator = here.aws.client("logs").get_paginator("filter_log_events")
    pages = paginator.paginate(logGroupName=here.outputs["LogGroupName"])
    return "\n".join(event["message"] for page in pages for event in page["events"])


def _denied_to_the_scheduler(here: environment.Environment) -> dict[str, str]:
    """What the role that the scheduler assumed is answered when it asks for more than its own."""
    credentials = here.aws.client("sts").assume_role(
        RoleArn=here.outputs["SchedulerRoleArn"], RoleSessionName="curious"
    )["Credentials"]
    sqs, secrets = (here.aws.client(name, credentials) for name in ("sqs", "secretsmanager"))
    asked: dict[str, Callable[[], Any]] = {
        "send a result": lambda: sqs.send_message(
            QueueUrl=here.outputs["ResultsQueueUrl"], MessageBody="{}"
        ),
        "read the database's secret": lambda: secrets.get_secret_value(
            SecretId=here.outputs["DatabaseSecretArn"]
        ),
    }
    answers = {}
    for what, ask in asked.items():
        try:
            ask()
            answers[what] = "allowed"
        except ClientError as e:
            answers[what] = e.response["Error"]["Code"]
    return answers


def test_everything_ends_as_expected(story: Story) -> None:
    """The demo's own judgement finds nothing to complain about."""
    assert story.unexpected == []


def test_tasks_pass_values_through_xcom(story: Story) -> None:
    """Airflow's TaskFlow tutorial, unchanged, runs its three tasks on the function."""
    assert sorted(story.of("tutorial_taskflow_api")) == [
        ("extract", 1, "success"),
        ("load", 1, "success"),
        ("transform", 1, "success"),
    ]


def test_a_failed_try_is_retried_by_airflow(story: Story) -> None:
    """The first try fails, the second succeeds, each on an invocation of its own."""
    assert story.of("retry_once") == [
        ("fail_on_first_try", 1, "failed"),
        ("fail_on_first_try", 2, "success"),
    ]


def test_what_is_too_large_for_one_event_arrives(story: Story) -> None:
    """The task ran, and the handler deleted the payload that it had fetched from the bucket."""
    assert story.of("large_config") == [("arrive", 1, "success")]
    assert story.objects_left == 0


def test_every_try_was_one_invocation(story: Story) -> None:
    """Each try has exactly one settled invocation in the function's log, measured."""
    invocations = [row.invocation for row in story.ended.rows]
    assert len(invocations) == 6
    for one in invocations:
        assert one is not None
        assert one.outcome == "completed"
        assert one.run_ms > 0
        assert one.queue_to_start_ms is not None
    assert any(one.start == "restored" for one in invocations if one)


def test_the_report_has_every_try_and_loads_nothing(story: Story) -> None:
    """It has their measured times, and each phase from the first program to the last stack."""
    page = Page(HOME.report.read_text(encoding="utf-8"))
    assert page.loads == []
    rows = [row.text for row in page.all("tr") if "data-try" in row.attributes]
    assert len(rows) == len(page.all("a", "bar")) == len(story.ended.rows)
    for row in story.ended.rows:
        assert row.invocation
        assert [
            text
            for text in rows
            if {row.key.dag_id, row.key.task_id, f"{row.invocation.run_ms:.0f}"}
            <= set(text.split())
        ]
    phases = [phase["name"] for phase in page.data["phases"]]
    assert phases[-1] == "cdk destroy --all"
    assert {"cdk bootstrap", "cdk deploy --all", "Starting Airflow", "Running the DAGs"} < {*phases}


def test_the_terminal_has_a_summary_of_80_columns(story: Story) -> None:
    """Each DAG has a line in it."""
    assert max(map(len, map(str.rstrip, story.terminal))) <= 80
    assert {"tutorial_taskflow_api", "retry_once", "large_config"} < {
        word for line in story.terminal for word in line.split()
    }


def test_every_result_was_taken_from_the_queue(story: Story) -> None:
    """The handler reported each end over SQS; the executor took and deleted all of it."""
    assert story.ended.messages_left == {"ResultsQueueUrl": 0, "DeadLetterQueueUrl": 0}


def test_the_scheduler_has_only_what_its_policy_grants(story: Story) -> None:
    """Permissions are enforced: the scheduler's role runs all of this and can do nothing else."""
    assert set(story.denied) == {"send a result", "read the database's secret"}
    assert all("AccessDenied" in answer for answer in story.denied.values()), story.denied


def test_the_list_of_leftovers_covers_the_stacks(story: Story) -> None:
    """While the stacks are up, the look that later finds nothing finds every service of theirs."""
    templates = [json.loads(file.read_text()) for file in HOME.assembly.glob("*.template.json")]
    types = {found["Type"] for template in templates for found in template["Resources"].values()}
    services = {type_.split("::")[1].lower() for type_ in types if type_.startswith("AWS::")}
    assert {"lambda", "sqs", "rds"} < services
    assert services - {resource.service for resource in story.deployed} == set()


def test_nothing_is_left_in_the_account(story: Story) -> None:
    """After `cdk destroy --all` the account is as after `cdk bootstrap`."""
    assert story.left == []


def test_nothing_is_left_on_the_machine(story: Story) -> None:
    """No process and no folder outside the repository outlives the environment."""
    assert story.processes_left == []
    assert story.folders_left == []


def test_no_secret_is_in_a_log(story: Story) -> None:
    """No program, no function and no task writes a password, a key or a task's token to its log."""
    programs = [*HOME.logs.iterdir(), *HOME.aws.glob("*.log")]
    assert {"airflow-scheduler.log", "local-aws.log", "cdk-deploy.log"} <= {
        log.name for log in programs
    }
    tasks = [*HOME.task_logs.rglob("attempt=*.log")]
    assert len(tasks) == len(story.ended.rows)
    assert story.function_log.count('"invocation settled"') == len(story.ended.rows)
    logs = {str(log): log.read_text(errors="replace") for log in (*programs, *tasks)}
    for log, text in {**logs, "the function's log group": story.function_log}.items():
        assert TOKEN_HEAD not in text, f"{log} holds a token"
        assert not [True for secret in story.secrets if secret in text], f"{log} has a secret"


def test_no_task_waits_for_the_execution_api_to_be_built(story: Story) -> None:
    """Airflow builds it at its first call, which takes seconds: that call was the demo's own."""
    lines = (HOME.logs / "airflow-api-server.log").read_text().splitlines()
    calls = [line for line in lines if "path=/execution/" in line]
    assert "method=GET path=/execution/health" in calls[0]
    assert "status_code=200" in calls[0]
    assert len(calls) > len(story.ended.rows)


def test_no_program_logs_a_traceback(story: Story) -> None:
    """A person who reads a log finds no error where everything ended as expected."""
    assert story.unexpected == []
    logs = [*HOME.logs.iterdir(), *HOME.aws.glob("*.log")]
    assert [log.name for log in logs if "Traceback" in log.read_text(errors="replace")] == []


@pytest.mark.usefixtures("story")
def test_the_cdk_shows_its_own_lines_only() -> None:
    """Its log's last line is shown as progress, and is none of Node's warnings."""
    logs = [*HOME.logs.glob("cdk-*.log")]
    assert [log.name for log in logs if "(node:" in log.read_text()] == []
    assert len(logs) == 4
