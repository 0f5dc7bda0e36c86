"""`get_task_log` of an executor that was never started, against AWS's own shapes (moto)."""

from __future__ import annotations

import json
import time
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

import boto3
import pytest

from lambda_executor import LambdaExecutor
from tests.support.account import Account
from tests.support.job_account import BATCH, jobs

__all__ = ["jobs"]

GROUP = "/aws/lambda/named-by-the-stacks"


ID = "0198c9d2-7d0e-7a53-9f6e-3f5d0c1b2a49"


@dataclass
class Task:
    """What Airflow's API server knows of a task."""

    external_executor_id: str | None = ID
    try_number: int = 1
    queue: str = "default"
    executor_config: dict[str, Any] = field(default_factory=dict)
    queued_dttm: datetime = field(default_factory=lambda: datetime.now(UTC))


@pytest.fixture
def group(account: Account) -> str:
    """The log group that the parameter names."""
    account.options["log_group"] = GROUP
    account.write_parameter()
    boto3.client("logs").create_log_group(logGroupName=GROUP)
    return GROUP


def write(stream: str, *lines: str | dict[str, Any]) -> None:
    """Let a function log."""
    logs = boto3.client("logs")
    logs.create_log_stream(logGroupName=GROUP, logStreamName=stream)
    now_ms = int(time.time() * 1000)
    texts = [each if isinstance(each, str) else json.dumps(each) for each in lines]
    logs.put_log_events(
        logGroupName=GROUP,
        logStreamName=stream,
        logEvents=[{"timestamp": now_ms, "message": text} for text in texts],
    )


def started(id: str) -> dict[str, Any]:
    """The handler's first line."""
    return {"event": "invocation started", "invocation_id": id}


def read(task: Task, try_number: int = 1) -> tuple[list[str], list[str]]:
    """Ask as Airflow does: with an executor that nobody started."""
    return LambdaExecutor(parallelism=1).get_task_log(task, try_number)  # type: ignore[arg-type]


@pytest.mark.usefixtures("group")
def test_the_lines_of_a_running_task_are_found_by_its_dispatch_id() -> None:
    """In whichever stream they are, and without those of other invocations."""
    write("2026/01/01/[1]a", started("another"), "not ours")
    write("2026/01/01/[1]b", started("other"), "not ours", started(ID), "said", {"event": "e"})
    sources, lines = read(Task())
    assert sources == [f"CloudWatch log group {GROUP}, log stream 2026/01/01/[1]b"]
    assert [json.loads(line)["event"] for line in lines] == ["invocation started", "said", "e"]


@pytest.mark.usefixtures("group")
def test_a_task_without_a_line_yet_is_told_so() -> None:
    """Airflow shows where lines will be instead of asking a worker that does not exist."""
    assert read(Task()) == ([f"CloudWatch log group {GROUP} has no line of this task yet"], [])


@pytest.mark.usefixtures("group")
def test_other_tries_are_left_to_airflow() -> None:
    """Only the try that runs can have a live log."""
    assert read(Task(try_number=2), try_number=1) == ([], [])
    assert read(Task(external_executor_id=None)) == ([], [])
    assert read(Task(external_executor_id='{"dag_id": "the reference\'s key"}')) == ([], [])


@pytest.mark.usefixtures("group", "jobs")
def test_the_lines_of_a_running_job_are_found_in_the_group_of_its_definition(
    account: Account,
) -> None:
    """Whoever reads the log need not know where a task runs."""
    boto3.client("batch").register_job_definition(
        jobDefinitionName="task",
        type="container",
        containerProperties={
            "image": "image",
            "vcpus": 1,
            "memory": 512,
            "logConfiguration": {"logDriver": "awslogs", "options": {"awslogs-group": GROUP}},
        },
    )
    account.options |= {
        "targets": json.dumps({"long": {"batch": json.loads(BATCH.request)}}),
        "payload_bucket": "payloads",
    }
    account.write_parameter()
    write("task/default/0123", "loading", started(ID), "said")
    sources, lines = read(Task(queue="long"))
    assert sources == [f"CloudWatch log group {GROUP}, log stream task/default/0123"]
    assert [json.loads(line)["event"] for line in lines] == ["invocation started", "said"]


@pytest.mark.usefixtures("account")
def test_a_log_group_that_does_not_exist_is_told(account: Account) -> None:
    """In AWS's words, and nothing is raised."""
    account.write_parameter()
    sources, lines = read(Task())
    assert sources[0].startswith("The function's log cannot be read: ")
    assert "ResourceNotFoundException" in sources[0]
    assert lines == []
