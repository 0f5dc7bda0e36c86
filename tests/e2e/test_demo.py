"""The demo's path with two DAGs: deploy, run, report, destroy.

The same modules as `make demo`; what is told here is told of that command too.
"""

from __future__ import annotations

import os
import time
from dataclasses import dataclass

import pytest
from sqlalchemy import make_url

from demo import dag_folder, environment, exercise, leftovers, paths, process_table
from demo.screen import Screen

pytestmark = pytest.mark.timeout(900)  # The first test waits for all of it, on any machine.

FILES = (dag_folder.TASKFLOW, dag_folder.RETRY)
DRAIN_TIMEOUT_S = 30.0
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
    """What happened, for every test to look at."""

    ended: exercise.Ended
    unexpected: list[str]
    deployed: list[leftovers.Resource]
    messages_left: dict[str, int]
    left: list[leftovers.Resource]
    processes_left: set[int]
    folders_left: list[str]
    secrets: list[str]

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
    before = set(process_table.descendants(os.getpid()))
    with environment.running(paths.E2E, FILES, Screen()) as here:
        ended = exercise.run_all(here)
        deployed = here.deployed()
        messages_left = _messages_left(here)
        password = make_url(here.airflow.settings["AIRFLOW__DATABASE__SQL_ALCHEMY_CONN"]).password
        assert password
        left = here.take_down()
    return Story(
        ended=ended,
        unexpected=ended.unexpected(here),
        deployed=deployed,
        messages_left=messages_left,
        left=left,
        processes_left=set(process_table.descendants(os.getpid())) - before,
        folders_left=[str(folder) for folder in here.folders_outside if folder.exists()],
        secrets=[here.airflow.settings[name] for name in SECRETS] + [password],
    )


def _messages_left(here: environment.Environment) -> dict[str, int]:
    """Messages in both queues once the executor has had time to take and delete its own."""
    sqs = here.aws.client("sqs")
    names = ["ApproximateNumberOfMessages", "ApproximateNumberOfMessagesNotVisible"]
    deadline = time.monotonic() + DRAIN_TIMEOUT_S
    while True:
        left = {}
        for output in ("ResultsQueueUrl", "DeadLetterQueueUrl"):
            answer = sqs.get_queue_attributes(QueueUrl=here.outputs[output], AttributeNames=names)
            left[output] = sum(int(answer["Attributes"][name]) for name in names)
        if not any(left.values()) or time.monotonic() > deadline:
            return left
        time.sleep(0.5)


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


def test_every_try_was_one_invocation(story: Story) -> None:
    """Each try has exactly one settled invocation in the function's log, measured."""
    invocations = [row.invocation for row in story.ended.rows]
    assert len(invocations) == 5
    for one in invocations:
        assert one is not None
        assert one.outcome == "completed"
        assert one.run_ms > 0
        assert one.queue_to_start_ms is not None
    assert any(one.cold for one in invocations if one)


def test_every_result_was_taken_from_the_queue(story: Story) -> None:
    """The handler reported each end over SQS; the executor took and deleted all of it."""
    assert story.messages_left == {"ResultsQueueUrl": 0, "DeadLetterQueueUrl": 0}


def test_the_look_for_leftovers_sees_what_is_deployed(story: Story) -> None:
    """While the stacks are up, the look that later finds nothing finds every service of theirs."""
    assert {resource.service for resource in story.deployed} == {
        *("cloudformation", "ec2", "ecr", "iam", "lambda", "logs", "rds", "secretsmanager"),
        *("sqs", "ssm"),
    }


def test_nothing_is_left_in_the_account(story: Story) -> None:
    """After `cdk destroy --all` the account is as after `cdk bootstrap`."""
    assert story.left == []


def test_nothing_is_left_on_the_machine(story: Story) -> None:
    """No process and no folder outside the repository outlives the environment."""
    assert story.processes_left == set()
    assert story.folders_left == []


def test_no_secret_is_in_a_log(story: Story) -> None:
    """No program of the environment writes a password, a key or a task's token to its log."""
    logs = [*paths.E2E.logs.iterdir(), *paths.E2E.aws.glob("*.log")]
    assert {"airflow-scheduler.log", "local-aws.log", "cdk-deploy.log"} <= {
        log.name for log in logs
    }
    for log in logs:
        text = log.read_text(errors="replace")
        assert TOKEN_HEAD not in text, f"{log.name} holds a token"
        assert not [True for secret in story.secrets if secret in text], f"{log.name} has a secret"
