"""AWS asks a job to stop (SIGTERM): whenever that comes, the right end is reported in time.

The service kills the container 30 s later; where a test needs it sooner, the job takes 6 s for it.
"""

from __future__ import annotations

import json
import os
import shutil
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from lambda_executor.contract.options import WORKLOAD_SECRETS
from lambda_executor.contract.wire import Outcome, Result
from lambda_image.machine.stop_request import REASON
from tests.support.handler_process import processes_with, task
from tests.support.job_process import Job, JobProcess
from tests.support.killable import KILLABLE
from tests.support.minors import python_of

#: How long the child of `starts_a_process` would sleep: it tells it from all others.
NAP = "86312.5"
GRACE_S = 6.0

DAGS = f"""
import signal, subprocess, time
from airflow.sdk import BaseOperator, dag, task
{KILLABLE}
@dag(schedule=None)
def handled():
    @task
    def says():
        print("said by the task")
    @task
    def starts_a_process():
        subprocess.Popen(["sleep", "{NAP}"])
        print("executing")
        time.sleep(60)
    @task
    def blocks_signals():
        signal.pthread_sigmask(signal.SIG_BLOCK, signal.valid_signals() - {{signal.SIGKILL}})
        print("executing")
        time.sleep(60)
    @task
    def has_a_child_that_ends():
        print("executing")
        done = subprocess.run(["sh", "-c", "kill -TERM $$"])
        print("its child ended with", done.returncode)
    for each in (says, starts_a_process, blocks_signals, has_a_child_that_ends):
        each()
    Killable(task_id="is_killable")

handled()
"""


@pytest.fixture
def job(tmp_path: Path) -> Iterator[Job]:
    """A place for jobs with a world of its own, in which every task may be tried again."""
    job = Job(tmp_path, DAGS)
    job.server.run_context = {"should_retry": True}
    yield job
    job.close()


def executing(job: Job, task_id: str, **more: Any) -> JobProcess:
    """The job of a task that is executing."""
    process = job.start(task(task_id), **more)
    job.wait_until(lambda: "executing" in process.log())
    return process


def called(job: Job, end: str) -> bool:
    """Whether the Execution API was called at a path with this end."""
    return any(path.endswith(end) for _, path, _ in job.server.calls)


def ended_in_time(job: Job, process: JobProcess, asked_at_s: float) -> Result:
    """The result of a job that ended before its service would have killed it."""
    result = job.ended(process)
    assert time.monotonic() - asked_at_s < GRACE_S
    return result


def test_a_task_is_stopped_and_tried_again(job: Job) -> None:
    """The reason is in the result and in the task's log, and the operator cleans up."""
    process = executing(job, "is_killable")
    process.stop()
    result = job.ended(process)
    assert (result.outcome, result.return_code) == (Outcome.DEADLINE, 0)
    assert result.reason == f"stopped: {REASON}"
    assert (result.task_state, job.server.told_states()) == ("up_for_retry", ["up_for_retry"])
    assert f"stopped: {REASON}" in process.task_log()
    assert process.log().count('"on_kill was called"') == 1


def test_every_airflow_lets_a_stopped_task_be_tried_again(job: Job, minor: str) -> None:
    """Since Airflow 3.3 its supervisor hands SIGTERM on, and the task would fail for good."""
    programs = {"PATH": f"{python_of(minor).parent}:{os.environ['PATH']}"}
    process = executing(job, "is_killable", variables=programs)
    process.stop()
    result = job.ended(process)
    assert (result.outcome, result.reason) == (Outcome.DEADLINE, f"stopped: {REASON}")
    assert job.server.told_states() == ["up_for_retry"]


def test_a_task_without_a_retry_fails(job: Job) -> None:
    """As after its own `execution_timeout`."""
    job.server.run_context = {"should_retry": False}
    process = executing(job, "is_killable")
    process.stop()
    assert job.ended(process).task_state == "failed"


def test_a_second_request_changes_nothing(job: Job) -> None:
    """The task is asked once, and has the time that the first request left."""
    process = executing(job, "is_killable")
    process.stop()
    job.wait_until(lambda: "on_kill was called" in process.log())
    process.stop()
    result = job.ended(process)
    assert (result.outcome, result.return_code) == (Outcome.DEADLINE, 0)
    assert process.log().count('"on_kill was called"') == 1


def test_the_processes_of_a_task_end_with_it(job: Job) -> None:
    """What the task started is gone before the container is."""
    process = executing(job, "starts_a_process")
    assert processes_with(NAP)
    process.stop()
    assert job.ended(process).task_state == "up_for_retry"
    assert processes_with(NAP) == []


def test_a_task_that_does_not_stop_is_killed_in_time(job: Job) -> None:
    """The job itself notifies Airflow, before the service kills the container."""
    process = executing(job, "blocks_signals", grace_s=GRACE_S)
    asked_at_s = time.monotonic()
    process.stop()
    result = ended_in_time(job, process, asked_at_s)
    assert (result.outcome, result.return_code) == (Outcome.DEADLINE, -9)
    assert result.reason == f"killed {GRACE_S / 2:g} s after the request to stop: {REASON}"
    assert job.server.told_states() == ["up_for_retry"]


def test_a_request_while_the_job_prepares_itself_starts_nothing(job: Job) -> None:
    """The signal is kept; Airflow is not told of a start, and the task's log has the reason."""
    process = job.start(task("says"))
    job.wait_until(process.holds_the_signal)
    process.stop()
    result = job.ended(process)
    assert (result.outcome, result.reason) == (Outcome.REJECTED, f"not started: {REASON}")
    assert job.server.calls == []
    assert process.task_log() == [f"not started: {REASON}"]


def test_a_request_while_the_payload_is_fetched_starts_nothing(job: Job) -> None:
    """What was fetched is not run any more."""
    job.server.on_fetch = lambda: job.process.stop() if job.process else None
    result = job.run(task("says"))
    assert (result.outcome, result.reason) == (Outcome.REJECTED, f"not started: {REASON}")
    assert job.server.calls == []


def test_a_request_while_a_secret_is_fetched_starts_nothing(job: Job) -> None:
    """What comes before the task's process may take minutes; the task loses no try."""
    arn = "arn:aws:secretsmanager:eu-west-1:123456789012:secret:orders-AbCdEf"
    job.server.secrets[arn] = "hunter-2"

    def stop() -> None:
        assert job.process is not None
        job.process.stop()
        time.sleep(0.3)  # The request is taken while the answer is awaited.

    job.server.on_secret = stop
    named = {WORKLOAD_SECRETS.environment_variable: json.dumps({"PASSWORD": arn})}
    process = job.start(task("says"), variables=named)
    result = job.ended(process)
    assert (result.outcome, result.reason) == (Outcome.REJECTED, f"not started: {REASON}")
    assert job.server.calls == []
    assert process.task_log() == [f"not started: {REASON}"]


def test_a_payload_that_does_not_come_is_not_waited_for(job: Job) -> None:
    """The result names both: what was missing, and why there was no more time."""
    asked_at_s: list[float] = []

    def hang() -> None:
        assert job.process is not None
        asked_at_s.append(time.monotonic())
        job.process.stop()
        time.sleep(GRACE_S)

    job.server.on_fetch = hang
    process = job.start(task("says"), grace_s=GRACE_S)
    job.wait_until(lambda: asked_at_s)
    result = ended_in_time(job, process, asked_at_s[0])
    assert result.outcome is Outcome.REJECTED
    assert "S3 did not answer" in result.reason
    assert result.reason.endswith(REASON)


def test_a_start_that_is_not_answered_is_not_waited_for(job: Job) -> None:
    """The start is not repeated any more."""
    job.server.script["/run"] = [(503, "away")] * 99
    process = job.start(task("says"), grace_s=GRACE_S)
    job.wait_until(lambda: called(job, "/run"))
    asked_at_s = time.monotonic()
    process.stop()
    result = ended_in_time(job, process, asked_at_s)
    assert result.outcome is Outcome.REJECTED
    assert "HTTP 503" in result.reason
    assert result.reason.endswith(REASON)
    assert not called(job, "/state")


def test_a_start_that_is_accepted_meanwhile_is_given_back(job: Job) -> None:
    """Airflow has the task as running, so it must hear of an end."""
    job.server.silent_on = "/run"
    process = job.start(task("says"))
    job.wait_until(lambda: called(job, "/run"))
    process.stop()
    time.sleep(0.3)  # The request is taken while the answer is awaited.
    job.server.silent_on = None
    result = job.ended(process)
    assert (result.outcome, result.task_state) == (Outcome.DEADLINE, "up_for_retry")
    assert result.reason.startswith(f"stopped: {REASON}")
    assert job.server.told_states() == ["up_for_retry"]


def test_an_end_that_is_not_taken_is_not_waited_for(job: Job) -> None:
    """Airflow was not notified of the end that was there before, and the result says so."""
    job.server.script["/state"] = [(503, "away")] * 99
    process = job.start(task("says"), grace_s=GRACE_S)
    job.wait_until(lambda: called(job, "/state"))
    asked_at_s = time.monotonic()
    process.stop()
    result = ended_in_time(job, process, asked_at_s)
    assert result.return_code != 0
    assert "the task ended as success, but Airflow could not be notified" in result.reason


def test_a_request_after_the_end_changes_nothing(job: Job) -> None:
    """The result is the one that it was."""
    job.server.on_result = lambda: job.process.stop() if job.process else None
    result = job.run(task("says"))
    assert (result.outcome, result.return_code, result.reason) == (Outcome.COMPLETED, 0, "")
    assert job.server.told_states() == ["success"]


def test_a_task_gets_signals_as_ever(job: Job) -> None:
    """The job keeps its own SIGTERM back, and not that of the task's processes."""
    process = job.start(task("has_a_child_that_ends"))
    assert job.ended(process).task_state == "success"
    assert "its child ended with -15" in process.log()


@pytest.mark.skipif(shutil.which("bwrap") is None, reason="needs bubblewrap")
def test_the_first_process_of_a_container_gets_the_request(job: Job) -> None:
    """The kernel drops a signal of process 1 for which nobody waits."""
    walls = ["bwrap", "--bind", "/", "/", "--dev", "/dev", "--unshare-pid", "--as-pid-1"]
    process = job.start(task("is_killable"), program=[*walls, "--proc", "/proc"])
    job.wait_until(lambda: "executing" in process.log())
    process.stop_child()
    result = job.ended(process)
    assert (result.outcome, result.task_state) == (Outcome.DEADLINE, "up_for_retry")
