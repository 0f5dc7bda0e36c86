"""A job's process, with Airflow's real task runtime: one workload, one result, then the end."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from lambda_executor.contract.options import WORKLOAD_SECRETS
from lambda_executor.contract.wire import Outcome
from tests.support.handler_process import ROOT, TOKEN, task
from tests.support.job_process import (
    BATCH_JOB_ID,
    CREDENTIALS,
    ID,
    LOG_STREAM,
    TASK_ARN,
    TASK_ID,
    Job,
)

DAGS = """
import os, signal, time
from airflow.sdk import dag, task

@dag(schedule=None)
def handled():
    @task
    def says():
        print("said by the task", os.environ["HOME"], os.environ["AIRFLOW_HOME"])
    @task
    def fails():
        raise ValueError("on purpose")
    @task
    def is_killed():
        os.kill(os.getpid(), signal.SIGKILL)
    @task
    def sleeps():
        time.sleep(60)
    @task
    def says_its_credentials():
        import boto3
        print("they are", boto3.session.Session().get_credentials().get_frozen_credentials())
    @task
    def reads_its_credentials():
        from urllib.request import urlopen
        print("read", urlopen(os.environ["AWS_CONTAINER_CREDENTIALS_FULL_URI"]).read().decode())
    @task
    def uses_a_secret():
        print("length", len(os.environ["PASSWORD"]), "password", os.environ["PASSWORD"])
    for each in (says, fails, is_killed, sleeps, uses_a_secret):
        each()
    says_its_credentials(), reads_its_credentials()

handled()
"""

#: Python runs it at its start.
LASTS = """
import atexit, threading, time
atexit.register(time.sleep, 3600)
threading.Thread(target=time.sleep, args=(3600,)).start()
"""


@pytest.fixture
def job(tmp_path: Path) -> Iterator[Job]:
    """A place for jobs with a world of its own."""
    job = Job(tmp_path, DAGS)
    yield job
    job.close()


def test_a_task_runs_and_its_end_is_reported(job: Job, tmp_path: Path) -> None:
    """The Execution API hears of the success, the queue of the end; then the job ends."""
    result = job.run(task("says"))
    assert (result.id, result.outcome, result.return_code) == (ID, Outcome.COMPLETED, 0)
    assert (result.reason, result.task_state, result.cold) == ("", "success", True)
    assert (result.request_id, result.log_stream) == (BATCH_JOB_ID, LOG_STREAM)
    assert job.server.told_states() == ["success"]
    assert job.server.payloads == {}
    assert job.process is not None
    assert f"said by the task {tmp_path}/tmp/airflow-" in job.process.log()
    assert TOKEN not in job.process.log()
    assert list((tmp_path / "tmp").iterdir()) == []  # Its private folders are gone.


def test_a_job_has_the_name_of_its_ecs_task(job: Job) -> None:
    """Each attempt of a Batch job has another one, so Airflow can tell a second start."""
    job.run(task("says"))
    start = next(body for _, path, body in job.server.calls if path.endswith("/run"))
    assert start["hostname"] == f"job-{TASK_ID}"


def test_a_task_of_ecs_is_named_by_its_arn(job: Job) -> None:
    """Without Batch it is the request id, and it names the Region if nothing else does."""
    nothing = dict.fromkeys(("AWS_BATCH_JOB_ID", "AWS_REGION", "AWS_DEFAULT_REGION"), "")
    assert job.run(task("says"), variables=nothing).request_id == TASK_ARN


def test_without_metadata_a_job_has_a_name_of_its_own(job: Job) -> None:
    """It runs all the same; nothing tells its log stream."""
    nothing = {"AWS_BATCH_JOB_ID": "", "ECS_CONTAINER_METADATA_URI_V4": f"{job.server.url}/no"}
    result = job.run(task("says"), variables=nothing)
    assert (result.request_id or "").startswith("job-")
    assert (result.return_code, result.log_stream) == (0, None)


def test_a_failed_task_is_no_failed_job(job: Job) -> None:
    """Airflow has the state, and retries; a service that did so too would start it twice."""
    result = job.run(task("fails"))
    assert (result.outcome, result.return_code) == (Outcome.COMPLETED, 0)
    assert job.server.told_states() == ["failed"]


def test_a_killed_task_is_reported_by_the_job(job: Job) -> None:
    """The reason is about a job, and the task gets its retry."""
    job.server.run_context = {"should_retry": True}
    result = job.run(task("is_killed"))
    assert (result.outcome, result.return_code) == (Outcome.CRASHED, -9)
    assert "the job's memory" in result.reason
    assert job.server.told_states() == ["up_for_retry"]


def test_a_task_is_stopped_before_the_jobs_own_time_out(job: Job) -> None:
    """`--timeout-s` counts from the job's start, and the margins are those of a function."""
    margins = {
        "AIRFLOW__LAMBDA_EXECUTOR__STOP_MARGIN_S": "10",
        "AIRFLOW__LAMBDA_EXECUTOR__KILL_MARGIN_S": "4",
    }
    result = job.run(task("sleeps"), arguments=["--timeout-s", "20"], variables=margins)
    assert (result.outcome, result.return_code) == (Outcome.DEADLINE, 0)
    assert result.reason.startswith("stopped 10 s before the end of the job's time-out")
    assert "attemptDurationSeconds" in result.reason
    assert "Lambda" not in result.reason


def test_an_execution_api_that_is_gone_is_reported(job: Job) -> None:
    """Nothing was started, and the reason says why."""
    job.server.is_gone = True
    result = job.run(task("says"), arguments=["--timeout-s", "12"])
    assert result.outcome is Outcome.REJECTED
    assert "closed the connection without an answer" in result.reason


def test_a_payload_that_is_gone_was_taken_by_another_start(job: Job) -> None:
    """A job that its service starts again runs nothing, and says so."""
    job.server.on_fetch = job.server.payloads.clear
    result = job.run(task("says"))
    assert result.outcome is Outcome.DUPLICATE
    assert job.server.calls == []


def test_a_queue_that_is_gone_fails_the_job(job: Job) -> None:
    """Nobody was told of the end: the service has to be the one who tells."""
    job.server.has_queue = False
    process = job.start(task("says"))
    assert process.wait() == 1
    assert job.server.told_states() == ["success"]
    assert "the job has not reported its result" in process.log()


@pytest.mark.parametrize(
    ("event", "arguments", "code", "says"),
    [
        ("no JSON", [], 2, "argument EVENT: it is not JSON"),
        ("{}", ["--timeout-s", "-1"], 2, "'-1' is no positive number of seconds"),
        ('{"detail-type": "Scheduled Event"}', [], 1, "without a usable task_key"),
    ],
)
def test_what_nobody_can_be_told_of_is_in_the_log(
    job: Job, event: str, arguments: list[str], code: int, says: str
) -> None:
    """The job fails with the reason as its last words."""
    process = job.start_event(event, arguments=arguments)
    assert process.wait() == code
    assert says in process.log()
    assert job.server.results == []


def test_a_job_that_cannot_prepare_itself_reports_that(job: Job) -> None:
    """A function would become a dead letter; a job has nobody who writes one."""
    margins = {
        "AIRFLOW__LAMBDA_EXECUTOR__STOP_MARGIN_S": "5",
        "AIRFLOW__LAMBDA_EXECUTOR__KILL_MARGIN_S": "5",
    }
    result = job.run(task("says"), variables=margins)
    assert (result.outcome, result.request_id) == (Outcome.REJECTED, BATCH_JOB_ID)
    assert "nothing was started: the job cannot prepare itself: ConfigError" in result.reason
    assert "STOP_MARGIN_S is 5" in result.reason


def test_nothing_keeps_a_job_that_has_reported(job: Job, tmp_path: Path) -> None:
    """Each of its seconds is paid for, whatever a library has left running or registered."""
    lasting = tmp_path / "lasting"
    lasting.mkdir()
    (lasting / "sitecustomize.py").write_text(LASTS)
    variables = {"PYTHONPATH": f"{lasting}:{ROOT}:{ROOT / 'executor/src'}"}
    assert job.run(task("says"), variables=variables).task_state == "success"
    assert job.process is not None
    assert "said by the task" in job.process.log()
    assert list((tmp_path / "tmp").iterdir()) == []


@pytest.mark.parametrize("task_id", ["says_its_credentials", "reads_its_credentials"])
def test_fetched_credentials_are_in_no_log(job: Job, task_id: str) -> None:
    """Those of the container's role, which no variable holds; the job itself has fetched them."""
    none: dict[str, Any] = dict.fromkeys(("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"), "")
    given = {"AWS_CONTAINER_CREDENTIALS_FULL_URI": f"{job.server.url}/credentials"}
    result = job.run(task(task_id), variables=none | given)
    assert result.task_state == "success"
    assert job.process is not None
    said = [line for line in job.process.task_log() if line.startswith(("they are", "read"))]
    assert len(said) == 1
    assert CREDENTIALS["AccessKeyId"] in said[0]
    for log in (job.process.log(), *said):
        assert CREDENTIALS["SecretAccessKey"] not in log
        assert CREDENTIALS["Token"] not in log


def test_a_task_gets_its_secrets_and_no_log_does(job: Job) -> None:
    """The job's variables name them as a function's do."""
    arn = "arn:aws:secretsmanager:eu-west-1:123456789012:secret:orders-AbCdEf"
    job.server.secrets[arn] = "hunter-2"
    named = {WORKLOAD_SECRETS.environment_variable: json.dumps({"PASSWORD": arn})}
    assert job.run(task("uses_a_secret"), variables=named).task_state == "success"
    assert job.process is not None
    assert "length 8 password ***" in job.process.task_log()
    assert "hunter-2" not in job.process.log()


def test_every_line_of_the_log_is_json_and_names_the_job(job: Job) -> None:
    """As in a function: the log group has the same fields."""
    job.run(task("says"))
    assert job.process is not None
    lines = [json.loads(line) for line in job.process.log().splitlines()]
    (settled,) = [line for line in lines if line["event"] == "invocation settled"]
    assert (settled["request_id"], settled["invocation_id"]) == (BATCH_JOB_ID, ID)
    assert settled["task_id"] == "says"
