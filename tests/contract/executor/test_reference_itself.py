"""The reference has the faults of `test_reference_faults.py`; where this fails, it was mended.

Each scenario is the one of the same number there, as far as the reference's own calls allow.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import boto3
import pytest
from airflow.executors.base_executor import BaseExecutor
from airflow.utils.state import TaskInstanceState
from botocore.client import BaseClient
from botocore.exceptions import NoCredentialsError
from moto import mock_aws

from tests.support.scheduler import workload

if os.environ.get("CI") != "true":
    pytest.importorskip("airflow.providers.amazon", reason="the reference is not installed")

from airflow.providers.amazon.aws.executors.aws_lambda import AwsLambdaExecutor, lambda_executor
from airflow.providers.amazon.aws.executors.aws_lambda.docker import app

from tests.support.reference import SECTION, Calls, Reference, error

FAILED = (TaskInstanceState.FAILED, None)
SUCCESS = (TaskInstanceState.SUCCESS, None)


@pytest.fixture
def reference(monkeypatch: pytest.MonkeyPatch) -> Iterator[Reference]:
    """The reference, started and healthy."""
    monkeypatch.setenv("AIRFLOW_CONN_AWS_DEFAULT", "aws://")
    calls = Calls()
    with mock_aws():
        stand_in = lambda *a: calls.answer(*a)  # noqa: E731, PLW0108 - a method, given the client
        monkeypatch.setattr(BaseClient, "_make_api_call", stand_in)
        sqs = boto3.client("sqs")
        urls = [sqs.create_queue(QueueName=name)["QueueUrl"] for name in ("results", "dead")]
        for option, value in zip(
            ("FUNCTION_NAME", "QUEUE_URL", "DEAD_LETTER_QUEUE_URL"),
            ("function", *urls),
            strict=True,
        ):
            monkeypatch.setenv(f"{SECTION}{option}", value)
        executor: Any = AwsLambdaExecutor(parallelism=1000)  # type: ignore[no-untyped-call]
        executor.start()
        calls.counts.clear()
        yield Reference(executor, calls, sqs, *urls)


class TestTheReferenceShowsTheFault:
    """One fault each."""

    def test_w01_a_duplicate_start_fails_the_running_task(self, reference: Reference) -> None:
        """Its handler's report on HTTP 409 settles the first start, which goes on running."""
        task = workload("a")
        (key,) = reference.queue(task)
        reference.reply(key, return_code=1)
        assert reference.loop() == {task.ti.key: FAILED}

    def test_w02_the_first_half_settles_the_second(self, reference: Reference) -> None:
        """Both halves of a deferred task have one `task_key`; the second result is not expected."""
        first, resumed = workload("a"), workload("a")
        (old,) = reference.queue(first)
        (new,) = reference.queue(resumed)
        assert old == new
        reference.reply(old)
        assert reference.loop() == {first.ti.key: SUCCESS}
        assert not reference.executor.running_workloads

    def test_w03_it_cannot_revoke(self, reference: Reference) -> None:
        """Stuck-in-queued recovery is not implemented."""
        assert AwsLambdaExecutor.revoke_task is BaseExecutor.revoke_task
        with pytest.raises(NotImplementedError):
            reference.executor.revoke_task(ti=SimpleNamespace())

    def test_w04_missing_credentials_reach_the_scheduler(self, reference: Reference) -> None:
        """The error that boto3 raises without credentials becomes an AttributeError in the loop."""
        reference.calls.failures["Invoke"].append(NoCredentialsError())
        with pytest.raises(AttributeError):
            reference.queue(workload("a"))

    def test_w05_a_denied_receive_stops_all_dispatch_silently(
        self, reference: Reference, capsys: pytest.CaptureFixture[str]
    ) -> None:
        """No task is sent any more, nothing is logged, and it takes itself to be healthy."""
        reference.queue(workload("a"))
        assert "Submitting workload" in capsys.readouterr().out
        reference.calls.failures["ReceiveMessage"].append(error("AccessDenied", 403))
        assert reference.queue(workload("b"), workload("c")) == []
        assert reference.loop(3) == {}
        assert "AccessDenied" not in capsys.readouterr().out
        assert reference.executor.IS_BOTO_CONNECTION_HEALTHY

    def test_w06_stale_messages_starve_its_own(self, reference: Reference) -> None:
        """Ten foreign messages return at once and fill every receive."""
        task = workload("a")
        (key,) = reference.queue(task)
        for n in range(10):
            reference.reply(f"stale-{n}")
        reference.reply(key)
        assert reference.loop(20) == {}

    def test_w07_lambdas_words_are_lost(self, reference: Reference) -> None:
        """A dead letter fails a task without its reason; a destination record is deleted."""
        tasks = workload("a"), workload("b")
        first, second = reference.queue(*tasks)
        letter = {"task_key": first, "command": ["x"]}
        reference.say(reference.dead_letters, letter, ErrorMessage="Task timed out")
        reference.say(
            reference.dead_letters,
            {
                "requestContext": {"condition": "RetriesExhausted"},
                "requestPayload": {"task_key": second, "command": ["x"]},
                "responsePayload": {"errorMessage": "signal: killed"},
            },
        )
        assert reference.loop(3) == {tasks[0].ti.key: FAILED}
        assert reference.calls.counts["DeleteMessage"] == 2

    def test_w08_its_handler_swallows_a_failed_send(
        self, reference: Reference, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """The invocation succeeds: there is neither a result nor a dead letter."""
        monkeypatch.setenv("QUEUE_URL", reference.results)
        reference.calls.failures["SendMessage"].append(error("AccessDenied", 403))
        event = {"task_key": "key", "command": ["true"], "executor_config": {}}
        assert app.lambda_handler(event, None) is None  # type: ignore[no-untyped-call]
        assert reference.calls.counts["SendMessage"] == 1

    def test_w09_its_handler_runs_the_task_first(
        self, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
    ) -> None:
        """It only notices afterwards that no results queue is set."""
        for name in ("QUEUE_URL", f"{SECTION}QUEUE_URL"):
            monkeypatch.delenv(name, raising=False)
        ran = tmp_path / "ran"
        event = {"task_key": "key", "command": ["touch", str(ran)], "executor_config": {}}
        with pytest.raises(RuntimeError, match="No Queue URL"):
            app.lambda_handler(event, None)  # type: ignore[no-untyped-call]
        assert ran.exists()

    def test_w10_a_backlog_takes_a_call_for_each_result(self, reference: Reference) -> None:
        """30 results take 3 loops and 30 deletes."""
        keys = reference.queue(*(workload(str(n)) for n in range(30)))
        for key in keys:
            reference.reply(key)
        assert len(reference.loop(2)) < 30
        assert len(reference.loop()) == 30
        assert reference.calls.counts["DeleteMessage"] == 30

    def test_w11_the_schedulers_thread_makes_every_invoke(self, reference: Reference) -> None:
        """A heartbeat sends all tasks one by one before it returns."""
        reference.queue(*(workload(str(n)) for n in range(20)))
        assert len(reference.calls.invokes) == 20
        assert len({invoke.thread for invoke in reference.calls.invokes}) == 1
        assert all(invoke.thread.name == "MainThread" for invoke in reference.calls.invokes)

    def test_w12_anything_is_adopted_and_takes_no_slot(self, reference: Reference) -> None:
        """Any string names an invocation, and adopted tasks do not count as running."""
        tis = [
            SimpleNamespace(key=workload("a").ti.key, external_executor_id=id, state="running")
            for id in ("x", json.dumps({"dag_id": "other"}))
        ]
        assert tis[0] not in reference.executor.try_adopt_task_instances(tis)
        assert reference.executor.slots_available == 1000

    @pytest.mark.parametrize("body", ["5", '{"task_key": ["a"], "return_code": 0}'])
    def test_w13_one_bad_message_stops_everything(self, reference: Reference, body: str) -> None:
        """Neither the result behind it is taken nor the next task sent, loop after loop."""
        (key,) = reference.queue(workload("a"))
        reference.say(reference.results, body)
        reference.reply(key)
        assert reference.loop() == {}
        reference.sqs.purge_queue(QueueUrl=reference.results)
        reference.say(reference.results, body)
        assert reference.queue(workload("b")) == []

    def test_w14_a_refused_delete_stops_dispatch(self, reference: Reference) -> None:
        """A throttled delete ends the loop before anything is sent."""
        (key,) = reference.queue(workload("a"))
        reference.reply(key)
        reference.calls.failures["DeleteMessage"].append(error("Throttling"))
        assert reference.queue(workload("b")) == []

    @pytest.mark.parametrize("code", ["TooManyRequestsException", "ResourceNotFoundException"])
    def test_w15_throttling_burns_a_task_and_a_permanent_error_is_repeated(
        self, reference: Reference, monkeypatch: pytest.MonkeyPatch, code: str
    ) -> None:
        """Both are tried exactly three times."""
        monkeypatch.setattr(lambda_executor, "calculate_next_attempt_delay", lambda _: timedelta(0))
        reference.calls.failures["Invoke"].append(error(code))
        task = workload("a")
        reference.queue(task)
        assert reference.loop(5) == {task.ti.key: FAILED}
        assert len(reference.calls.invokes) == 3

    def test_w16_an_arn_is_refused(
        self, reference: Reference, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """It compares the ARN with the function's name in AWS's answer."""
        arn = "arn:aws:lambda:eu-west-1:123456789012:function:function"
        monkeypatch.setattr(reference.executor, "lambda_function_name", arn)
        with pytest.raises(Exception, match="until the issue is addressed"):
            reference.executor.start()

    def test_w17_ending_waits_without_end_and_drops_what_waits(
        self, reference: Reference, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """It sleeps while anything runs, and drops the tasks that wait for another try."""

        class StillWaitingError(Exception):
            """The tenth time."""

        sleeps = iter(range(10))

        def sleep(_seconds: float) -> None:
            if next(sleeps, None) is None:
                raise StillWaitingError

        monkeypatch.setattr(f"{lambda_executor.__name__}.time.sleep", sleep)
        (key,) = reference.queue(workload("a"))
        with pytest.raises(StillWaitingError):
            reference.executor.end()
        reference.reply(key)
        reference.calls.failures["Invoke"].append(error("ServiceException", 500))
        reference.queue(workload("b"))
        reference.executor.end()
        assert len(reference.executor.pending_workloads) == 1

    def test_w18_the_queue_is_ignored(self, reference: Reference) -> None:
        """Every task runs on the one function."""
        reference.queue(workload("a"), workload("b", queue="large"))
        assert [invoke.function for invoke in reference.calls.invokes] == ["function", "function"]
