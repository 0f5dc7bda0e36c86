"""`airflow lambda-executor status` of an environment with targets of jobs, on moto."""

from __future__ import annotations

import json
from functools import partial

import boto3
import pytest
from airflow.models.taskinstance import TaskInstance
from sqlalchemy import Engine, update

from lambda_executor.ops import commands, terminal
from tests.contract.executor.test_cli_dead_letters import store
from tests.support.account import Account
from tests.support.command_line import run, run_json
from tests.support.job_account import BATCH, ECS, jobs

__all__ = ["jobs"]


@pytest.fixture
def targets(account: Account) -> None:
    """The targets of that account in the parameter."""
    found = {t.name: {t.service.value: json.loads(t.request)} for t in (BATCH, ECS)}
    account.options |= {"targets": json.dumps(found), "payload_bucket": "payloads"}
    account.write_parameter()


@pytest.mark.usefixtures("targets", "jobs")
def test_each_target_has_what_airflow_and_its_service_say(
    database: Engine, capfd: pytest.CaptureFixture[str]
) -> None:
    """A task counts for its queue; a queue without tasks is told, too."""
    store(database, "one", "running")
    store(database, "two", "running")
    with database.begin() as connection:
        ours = TaskInstance.external_executor_id == "one"
        connection.execute(update(TaskInstance).where(ours).values(queue="long"))
    boto3.client("ecs").run_task(cluster="tasks", taskDefinition="task", launchType="FARGATE")
    code, told = run_json(capfd, "status")
    assert (code, told["reasons"]) == (0, [])
    batch, ecs = told["targets"]
    assert (batch["target"], batch["in_flight"]) == ("batch:long", {"running": 1})
    assert batch["where"] == "job queue jobs"
    assert (ecs["target"], ecs["in_flight"]) == ("ecs:huge", {})
    assert sum(ecs["in_service"].values()) == 1


@pytest.mark.usefixtures("targets", "database")
def test_a_service_that_cannot_be_asked_is_a_problem(
    capfd: pytest.CaptureFixture[str],
) -> None:
    """The other targets are told all the same."""
    code, answer = run(capfd, "status")
    assert code == 1
    assert "target ecs:huge: " in answer
    assert "batch:long: nothing in Airflow" in answer


@pytest.mark.parametrize(("options", "period_s"), [(("--watch",), 5), (("--watch", "2"), 2)])
@pytest.mark.usefixtures("database")
def test_a_watch_shows_it_again_until_it_is_interrupted(
    account: Account,
    capfd: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    options: tuple[str, ...],
    period_s: int,
) -> None:
    """Ctrl-C is its end, not an error; what changes in between is shown."""
    account.write_parameter()
    waited = []

    def wait(seconds: float) -> None:
        waited.append(seconds)
        if len(waited) == 2:
            raise KeyboardInterrupt
        url = account.options["dead_letter_queue_url"]
        boto3.client("sqs").send_message(QueueUrl=url, MessageBody="{}")

    monkeypatch.setattr(commands, "watch", partial(terminal.watch, wait=wait))
    code, answer = run(capfd, "status", *options)
    assert (code, waited) == (0, [period_s, period_s])
    first, second = answer.split("\n\n")
    assert f"every {period_s} s" in first
    dead = f"{account.options['dead_letter_queue_url'].rpartition('/')[2]}: "
    for block, count in ((first, 0), (second, 1)):
        assert f"{dead}{count} messages are visible" in " ".join(block.split())
