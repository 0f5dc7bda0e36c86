"""Task logs in S3 and CloudWatch, and the invocation's log, by the real handler."""

from __future__ import annotations

import base64
import json
import os
import subprocess
import sys
import uuid
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from lambda_executor.contract.log_lines import CONTEXT, STARTED
from lambda_executor.contract.wire import Invocation, InvocationId, Outcome, Result
from tests.support.handler_process import TOKEN, HandlerProcess, Server, task
from tests.support.local_aws import ACCOUNT, REGION
from tests.support.local_aws import Server as LocalAws

PASSWORD = "correct-horse-battery-staple"
SECRET_KEY = "wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY"
SESSION_TOKEN = "IQoJb3JpZ2luX2VjEJr//////////wEaCWV1LXdlc3QtMSJHMEUCIQDn+EXAMPLE=="

DAGS = f"""
import json, logging, os, subprocess
from airflow.sdk import Connection, dag, task

@dag(schedule=None)
def handled():
    @task
    def says():
        print("said by the task")
    @task
    def fails():
        raise ValueError("on purpose")
    @task
    def tells_secrets():
        print("password", Connection.get("with_password").password)
        print("key", os.environ["AWS_SECRET_ACCESS_KEY"])
        print(dict(os.environ))
        logging.getLogger("of the task").info("logged %s", json.dumps(dict(os.environ)))
        subprocess.run("env; env >&2; env | base64 -w 0; echo", shell=True, check=True)
        print("token", "{TOKEN}")
        raise ValueError(f"failed with {{os.environ['AWS_SESSION_TOKEN']}}")
    for each in (says, fails, tells_secrets):
        each()

handled()
"""

#: Reads a task's log as the API server does for the UI, with the image's own configuration of
#: remote logs and none of ours.
_READ = """
import sys, types
from airflow.utils.log.file_task_handler import FileTaskHandler
handler = FileTaskHandler(base_log_folder=sys.argv[2])
handler._render_filename = lambda *_, **__: sys.argv[1]
ti = types.SimpleNamespace(state="success", try_number=1, end_date=None, hostname="gone")
for message in handler.read(ti, 1)[0]:
    print(message.model_dump_json())
"""


@dataclass
class Function:
    """One warm environment whose task logs go to the embedded AWS."""

    handler: HandlerProcess
    variables: dict[str, str]
    stored: Callable[[str], str]

    def run(self, task_id: str) -> tuple[dict[str, Any], Result, list[dict[str, Any]]]:
        """Run a task; the workload, its result, and the lines of the invocation's log."""
        workload = task(task_id)
        result, log = self.handler.run(workload)
        return workload, result, [json.loads(line) for line in log.splitlines()]

    def log_in_ui(self, workload: dict[str, Any], folder: Path) -> list[dict[str, Any]]:
        """The task's log as Airflow shows it."""
        done = subprocess.run(
            [sys.executable, "-c", _READ, workload["log_path"], str(folder)],
            env={**os.environ, **self.variables},
            capture_output=True,
            check=True,
            text=True,
        )
        lines = [line for line in done.stdout.splitlines() if line.startswith('{"timestamp"')]
        return [json.loads(line) for line in lines]

    def threads(self) -> int:
        """Count the threads of the handler's process."""
        return len(list(Path(f"/proc/{self.handler.pid}/task").iterdir()))


@pytest.fixture(scope="module")
def server() -> Iterator[Server]:
    """The world outside."""
    server = Server()
    server.connections["with_password"] = {
        "conn_id": "with_password",
        "conn_type": "http",
        "password": PASSWORD,
        **dict.fromkeys(("host", "schema", "login", "port", "extra")),
    }
    yield server
    server.close()


class Places:
    """Makes functions."""

    def __init__(self, folder: Path, local_aws: LocalAws, server: Server) -> None:
        self._folder = folder
        self._server = server
        self._endpoints = {
            "AWS_ENDPOINT_URL_S3": local_aws.url,
            "AWS_ENDPOINT_URL_CLOUDWATCH_LOGS": local_aws.url,
            "AWS_DEFAULT_REGION": REGION,
            "AWS_SECRET_ACCESS_KEY": SECRET_KEY,
            "AWS_SESSION_TOKEN": SESSION_TOKEN,
        }
        self.started: list[HandlerProcess] = []

    def function(self, remote: str, stored: Callable[[str], str] = str) -> Function:
        """A function of each kind."""
        folder = self._folder / uuid.uuid4().hex
        (folder / "dags").mkdir(parents=True)
        (folder / "dags/handled.py").write_text(DAGS)
        variables = {
            "AIRFLOW__LOGGING__REMOTE_LOGGING": "True",
            "AIRFLOW__LOGGING__REMOTE_BASE_LOG_FOLDER": remote,
            **self._endpoints,
        }
        handler = HandlerProcess(folder, folder / "dags", self._server, variables)
        self.started.append(handler)
        return Function(handler, variables, stored)


@pytest.fixture(scope="module")
def places(
    tmp_path_factory: pytest.TempPathFactory, local_aws: LocalAws, server: Server
) -> Iterator[Places]:
    """Where logs go."""
    places = Places(tmp_path_factory.mktemp("logs"), local_aws, server)
    yield places
    for handler in places.started:
        handler.close()


@pytest.fixture(scope="module")
def s3(places: Places, local_aws: LocalAws) -> Function:
    """A function with a log bucket."""
    bucket = f"logs-{uuid.uuid4().hex[:12]}"
    client = local_aws.client("s3")
    client.create_bucket(Bucket=bucket)

    def stored(path: str) -> str:
        found = client.get_object(Bucket=bucket, Key=f"task-logs/{path}")["Body"].read()
        return str(found.decode())

    return places.function(f"s3://{bucket}/task-logs", stored)


def group_arn(name: str) -> str:
    """The log group's ARN as the stacks give it to Airflow."""
    return f"cloudwatch://arn:aws:logs:{REGION}:{ACCOUNT}:log-group:{name}"


@pytest.fixture(scope="module")
def cloudwatch(places: Places, local_aws: LocalAws) -> Function:
    """A function with a log group for its tasks."""
    group = f"/airflow/{uuid.uuid4().hex[:12]}"
    client = local_aws.client("logs")
    client.create_log_group(logGroupName=group)

    def stored(path: str) -> str:
        found = client.get_log_events(logGroupName=group, logStreamName=path, startFromHead=True)
        return "\n".join(event["message"] for event in found["events"])

    return places.function(group_arn(group), stored)


@pytest.fixture(params=["s3", "cloudwatch"])
def function(request: pytest.FixtureRequest) -> Function:
    """A function of each kind."""
    found: Function = request.getfixturevalue(request.param)
    return found


def test_the_ui_has_a_tasks_log_before_its_result_is_sent(
    function: Function, server: Server, tmp_path: Path
) -> None:
    """No line stays in an environment that is frozen after its report."""
    stored: list[str] = []
    workload = task("fails")
    server.on_result = lambda: stored.append(function.stored(workload["log_path"]))
    try:
        function.handler.run(workload)
    finally:
        server.on_result = lambda: None
    assert "on purpose" in stored[0]
    assert function.stored(workload["log_path"]) == stored[0]
    shown = function.log_in_ui(workload, tmp_path)
    (failure,) = [line for line in shown if line["event"] == "Task failed with exception"]
    assert failure["level"] == "error"
    assert failure["error_detail"][0]["exc_value"] == "on purpose"
    times = [line["timestamp"] for line in shown if line["timestamp"]]
    assert times == sorted(times)
    assert len(times) == len(stored[0].splitlines())


def test_a_tasks_log_begins_with_the_reason_of_its_target(
    function: Function, tmp_path: Path
) -> None:
    """What the policy or the try before has decided is shown where a person looks first."""
    workload = task("says")
    invocation = Invocation.for_workload(
        InvocationId("id"),
        json.dumps(workload),
        executor_config={"lambda_executor": {"routed": "sent to long"}},
    )
    function.handler.invoke(json.loads(invocation.encode()))
    shown = function.log_in_ui(workload, tmp_path)
    first, *others = [line for line in shown if line["timestamp"]]
    assert (first["event"], first["level"]) == ("sent to long", "info")
    assert "said by the task" in [line["event"] for line in others]


def test_a_warm_environment_gathers_no_threads(function: Function) -> None:
    """Sending logs leaves no threads behind."""
    function.run("says")
    before = function.threads()
    for _ in range(3):
        function.run("says")
    assert function.threads() == before


@pytest.mark.parametrize(
    ("remote", "says"),
    [
        ("s3://no-such-bucket-at-all/logs", "NoSuchBucket"),
        (group_arn("/no/such/group"), "ResourceNotFoundException"),
    ],
)
def test_a_log_that_cannot_be_uploaded_fails_no_task(
    places: Places, remote: str, says: str
) -> None:
    """The invocation's log has the reason and the task's lines."""
    function = places.function(remote)
    _, result, lines = function.run("says")
    assert (result.outcome, result.return_code) == (Outcome.COMPLETED, 0)
    assert "said by the task" in [line["event"] for line in lines]
    assert says in json.dumps([line for line in lines if line["level"] == "error"])


def test_every_line_of_an_invocation_says_whose_it_is(s3: Function) -> None:
    """The handler's, Airflow's and the task's lines name dag, task, run, try and request."""
    workload, _, lines = s3.run("says")
    of_it = lines[[line["event"] for line in lines].index(STARTED) :]
    assert len(of_it) > 5
    ti = workload["ti"]
    for line in of_it:
        assert line.keys() >= set(CONTEXT), line
        assert (line["task_id"], line["run_id"]) == (ti["task_id"], ti["run_id"])
    assert len({line["request_id"] for line in lines}) == 1


def test_no_line_holds_a_secret(function: Function) -> None:
    """A task may print its connection, credentials and token: neither log has one."""
    workload, _, lines = function.run("tells_secrets")
    said = [line["event"] for line in lines]
    assert {"password ***", "key ***"} <= set(said)
    assert any(event.startswith("token ") for event in said)
    own, functions = function.stored(workload["log_path"]), function.handler.output.read_text()
    assert own.count("AWS_SECRET_ACCESS_KEY") == 4
    for log in (own, functions):
        for secret in (PASSWORD, SECRET_KEY, SESSION_TOKEN, TOKEN):
            assert secret not in log
            assert encoded(secret) not in log


def encoded(secret: str) -> str:
    """The part of a text in base64 that is the same wherever the secret begins in it."""
    return base64.b64encode(secret.encode()).decode()[4:-4]
