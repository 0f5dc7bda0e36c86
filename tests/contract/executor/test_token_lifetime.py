"""How long a workload's token lives, with each supported version of Airflow."""

from __future__ import annotations

import json
import os
import subprocess
from pathlib import Path

import pytest

from tests.support.handler_process import ROOT
from tests.support.minors import VENVS, python_of

#: Makes a token as the scheduler does. The options have values that no version has by default.
_MAKE = """
import base64, json, os, uuid
from types import SimpleNamespace
from airflow.configuration import conf
from airflow.executors.base_executor import BaseExecutor
from airflow.executors.workloads import ExecuteTask
from airflow.version import version
from lambda_executor.scheduler.state import LONGEST_RUN_S, DatabaseState
from lambda_executor.setup.time_limits import longest_wait, token_lifetime

generator = BaseExecutor().jwt_generator
if hasattr(ExecuteTask, "generate_token"):
    token = ExecuteTask.generate_token("id", generator)
else:
    token = generator.generate({"sub": "id"})
body = token.split(".")[1]
claims = json.loads(base64.urlsafe_b64decode(body + "=" * (-len(body) % 4)))
lifetime, wait = token_lifetime(conf, version), longest_wait(conf, version)
print("\\n" + json.dumps({
    "lives_s": claims["exp"] - claims["iat"],
    "answer_s": lifetime.seconds,
    "option": str(lifetime.option),
    "wait_s": wait.seconds,
    "wait_option": str(wait.option),
    "reconciliation_s": DatabaseState().longest_wait_s() - LONGEST_RUN_S,
    "runs_s": LONGEST_RUN_S,
}))
"""


def made(minor: str, home: Path, expiration_s: int, queued_s: int) -> dict[str, object]:
    """What one version of Airflow makes of two values, and what we say about them."""
    done = subprocess.run(
        [python_of(minor), "-c", _MAKE],
        env={
            "AIRFLOW_HOME": str(home),
            "AIRFLOW__API_AUTH__JWT_SECRET": "a secret of at least thirty-two bytes, for HMAC",
            "AIRFLOW__EXECUTION_API__JWT_EXPIRATION_TIME": str(expiration_s),
            "AIRFLOW__SCHEDULER__TASK_QUEUED_TIMEOUT": str(queued_s),
            "PATH": os.environ["PATH"],
            "PYTHONPATH": str(ROOT / "executor/src"),
        },
        capture_output=True,
        check=True,
        text=True,
    )
    answer: dict[str, object] = json.loads(done.stdout.splitlines()[-1])
    return answer


@pytest.mark.parametrize("minor", list(VENVS))
def test_the_named_option_is_the_one_that_decides(minor: str, tmp_path: Path) -> None:
    """The token that Airflow makes lives as long as the option that we name says.

    Reconciliation waits for as long, and the doctor allows an event the smaller of both times.
    """
    answer = made(minor, tmp_path, expiration_s=1234, queued_s=3456)
    is_old = minor in ("3.0", "3.1")
    expected = (
        ("[execution_api] jwt_expiration_time", 1234)
        if is_old
        else ("[scheduler] task_queued_timeout", 3456)
    )
    assert (answer["option"], answer["answer_s"]) == expected
    assert answer["lives_s"] == expected[1]
    assert answer["reconciliation_s"] == expected[1]
    assert answer["runs_s"] == 1800 + 60
    assert (answer["wait_option"], answer["wait_s"]) == expected


@pytest.mark.parametrize("minor", list(VENVS))
def test_an_event_may_not_outlive_the_queued_timeout(minor: str, tmp_path: Path) -> None:
    """Airflow gives a task up after that time, also while its token is still valid."""
    answer = made(minor, tmp_path, expiration_s=7200, queued_s=300)
    assert (answer["wait_option"], answer["wait_s"]) == ("[scheduler] task_queued_timeout", 300)
