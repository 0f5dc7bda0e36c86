"""Secret variables in the real handler: who has them, and what happens if there are none."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from lambda_executor.contract import probe
from lambda_executor.contract.options import WORKLOAD_SECRETS
from lambda_executor.contract.wire import Outcome
from tests.support.handler_process import HandlerProcess, running, task

ARN = "arn:aws:secretsmanager:eu-west-1:123456789012:secret:orders-AbCdEf"
PASSWORD = "hunter-2"

DAGS = """
import os
from airflow.sdk import Connection, dag, task

@dag(schedule=None)
def handled():
    @task
    def uses():
        print("host", Connection.get("orders").host, "length", len(os.environ["PASSWORD"]))
        print("password", os.environ["PASSWORD"])

    uses()

handled()
"""


@contextlib.contextmanager
def function(folder: Path) -> Iterator[HandlerProcess]:
    """A function with two variables from one secret, which exists."""
    references = {"AIRFLOW_CONN_ORDERS": f"{ARN}:url::", "PASSWORD": f"{ARN}:password::"}
    variables = {WORKLOAD_SECRETS.environment_variable: json.dumps(references)}
    with running(folder, DAGS, variables) as made:
        url = f"postgres://user:{PASSWORD}@db.example.com/orders"
        made.server.secrets[ARN] = json.dumps({"url": url, "password": PASSWORD})
        yield made


@pytest.fixture(scope="module")
def process(tmp_path_factory: pytest.TempPathFactory) -> Iterator[HandlerProcess]:
    """One environment for the tests that leave its secret alone."""
    with function(tmp_path_factory.mktemp("secrets")) as made:
        made.invoke(json.loads(probe.event()))
        assert made.server.asked_for == [], "the init phase, or a probe, asked for a secret"
        yield made


def test_a_task_gets_its_secrets_and_no_log_does(process: HandlerProcess) -> None:
    """A task has the values, and its output is masked; the next one asks for nothing again."""
    for _ in range(2):
        result, log = process.run(task("uses"))
        assert (result.outcome, result.return_code) == (Outcome.COMPLETED, 0), log
        assert "host db.example.com length 8" in log
        assert "password ***" in log
        assert PASSWORD not in process.output.read_text()
    assert process.server.asked_for == [ARN]


def test_the_processes_that_outlive_a_task_show_no_secret(process: HandlerProcess) -> None:
    """Neither the command line nor the initial variables of the environment's processes do."""
    process.run(task("uses"))
    children = Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()
    assert children
    for pid in (str(process.pid), *children):
        for what in ("cmdline", "environ"):
            assert PASSWORD not in Path("/proc", pid, what).read_text(errors="replace")


def test_a_reason_holds_no_secret(process: HandlerProcess) -> None:
    """What a refused start or a lost file says of a secret is masked before it is sent."""
    result, _ = process.run(task("uses", dag_rel_path=f"{PASSWORD}.py"))
    assert result.outcome is Outcome.REJECTED
    assert "***.py is not in the function's image" in result.reason


def test_a_denied_secret_is_the_reason_of_each_task(tmp_path: Path) -> None:
    """No task starts, its reason says what to do, and the environment works once it is done."""
    with function(tmp_path) as process:
        secret = process.server.secrets.pop(ARN)
        for _ in range(2):
            result, log = process.run(task("uses"))
            assert result.outcome is Outcome.REJECTED
            assert f"the secret {ARN} cannot be had" in result.reason
            assert "secretsmanager:GetSecretValue" in result.reason
            assert "the execution environment is given up" not in log
            assert process.server.calls == []  # Airflow still waits for the task's start.
        process.server.secrets[ARN] = secret
        result, log = process.run(task("uses"))
        assert result.return_code == 0, log
