"""Invocations that are too large for one event, and a handler without pointers."""

from __future__ import annotations

import dataclasses
import importlib.util
import json
import logging
import os
import runpy
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import boto3
import pytest
from airflow.utils.state import TaskInstanceState
from moto import mock_aws

from lambda_executor import LambdaExecutor
from lambda_executor.contract.errors import (
    AwsError,
    InDoubtError,
    RejectedError,
    ThrottledError,
    TransientError,
    UnreachableError,
)
from lambda_executor.contract.wire import MAX_INVOCATION_BYTES, Invocation, Outcome, Result
from lambda_executor.testing import MemoryPayloads
from tests.support.scheduler import SETTINGS, Scheduler, workload

LARGE = {"notes": "x" * MAX_INVOCATION_BYTES}
POINTER = Path(__file__).parents[1] / "golden" / "invocation-pointer-1.json"

Start = Callable[..., Scheduler]


@pytest.fixture
def start() -> Iterator[Start]:
    """Start a scheduler with a payload bucket, or without one."""
    started = []

    def with_bucket(payloads: MemoryPayloads | None, max_invoke_attempts: int = 1) -> Scheduler:
        scheduler = Scheduler(LambdaExecutor(parallelism=4))
        started.append(scheduler)
        settings = dataclasses.replace(SETTINGS, max_invoke_attempts=max_invoke_attempts)
        scheduler.start_on(settings, [scheduler.results], payloads)
        return scheduler

    yield with_bucket
    for scheduler in started:
        scheduler.executor.terminate()


def fail_large(scheduler: Scheduler) -> str:
    """Queue a large task that fails, and one that does not; returns the reason of the failure."""
    large, small = workload("large", executor_config=LARGE), workload("small")
    scheduler.executor.queue_workload(large, session=None)  # type: ignore[arg-type]
    scheduler.queue(small)
    state, info = scheduler.event(large.ti.key)
    assert state == TaskInstanceState.FAILED
    (sent,) = scheduler.function.invocations
    assert json.loads(sent.workload_json)["ti"]["task_id"] == "small"
    return str(info)


def test_a_large_task_goes_through_the_bucket_and_is_settled(start: Start) -> None:
    """Lambda gets a pointer under the task's own id; the result settles it like any other."""
    payloads = MemoryPayloads()
    scheduler = start(payloads)
    task = workload("a", executor_config=LARGE)
    (id,) = scheduler.queue(task)
    (event,) = scheduler.function.invocations
    assert event.payload
    whole = Invocation.decode(json.loads(payloads.objects[event.payload.key]))
    assert (whole.id, whole.executor_config) == (id, LARGE)
    scheduler.results.reply(id)
    assert scheduler.event(task.ti.key) == (TaskInstanceState.SUCCESS, None)


def test_a_large_task_without_a_bucket_fails_alone(start: Start) -> None:
    """The reason names the option to set; the other task is sent."""
    assert "no [lambda_executor] payload_bucket is set" in fail_large(start(None))


def test_a_bucket_that_refuses_fails_the_task_at_once(start: Start) -> None:
    """A permanent error is not retried, whatever `max_invoke_attempts` is."""
    payloads = MemoryPayloads()
    payloads.failures.append(RejectedError("AccessDenied"))
    assert fail_large(start(payloads, max_invoke_attempts=5)) == "AccessDenied"


@pytest.mark.parametrize("kind", [TransientError, ThrottledError, UnreachableError, InDoubtError])
def test_a_bucket_that_recovers_costs_no_task(start: Start, kind: type[AwsError]) -> None:
    """Whatever was wrong with it, Lambda has not taken the event; the next try sends the pointer.

    Meanwhile other tasks are sent: they do not need the bucket.
    """
    payloads = MemoryPayloads()
    payloads.failures.append(kind("SlowDown"))
    scheduler = start(payloads, max_invoke_attempts=1)
    small, large = workload("small"), workload("large", executor_config=LARGE)
    first, second = scheduler.queue(large, small)
    assert len(payloads.objects) == 1
    assert [event.payload is None for event in scheduler.function.invocations] == [True, False]
    assert {first, second} == {event.id for event in scheduler.function.invocations}
    assert scheduler.ends() == {}


def test_the_references_handler_reports_that_it_reads_no_pointers(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """It runs the pointer's command: the task fails at once, with the reason in its log."""
    package = importlib.util.find_spec("airflow.providers.amazon.aws.executors.aws_lambda")
    assert package
    assert package.submodule_search_locations
    app = Path(package.submodule_search_locations[0], "docker", "app.py")
    python = str(Path(sys.executable).parent)
    monkeypatch.setenv("PATH", os.pathsep.join([python, os.environ["PATH"]]))
    event: dict[str, Any] = json.loads(POINTER.read_text())
    with mock_aws(), caplog.at_level(logging.INFO):
        sqs = boto3.client("sqs")
        url = sqs.create_queue(QueueName="results")["QueueUrl"]
        monkeypatch.setenv("QUEUE_URL", url)
        runpy.run_path(str(app))["lambda_handler"](event, None)
        (message,) = sqs.receive_message(QueueUrl=url)["Messages"]
    result = Result.decode(message["Body"])
    assert (result.id, result.return_code) == (event["task_key"], 1)
    assert result.outcome is Outcome.COMPLETED  # The reference knows no outcomes: the code decides.
    assert any(
        record.getMessage().startswith("the invocation is too large for one event")
        for record in caplog.records
    )
