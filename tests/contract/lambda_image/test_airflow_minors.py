"""The real handler with each minor version of Airflow that the image can hold, in its own venv.

If Airflow moved a part that the handler takes from its inside, the first test of that version says
which, and the second that no task runs.
"""

from __future__ import annotations

import json
import os
import subprocess
import time
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from lambda_executor.contract.wire import Outcome, Result
from tests.support.handler_process import ROOT, HandlerProcess, Server, image_variables, task
from tests.support.minors import VENVS, python_of

DAGS = """
import os, signal
from airflow.sdk import dag, task

@dag(schedule=None)
def handled():
    @task
    def says():
        print("said by the task")
    @task(retries=1)
    def is_killed():
        os.kill(os.getpid(), signal.SIGKILL)
    says() >> is_killed()

handled()
"""

#: Prints the version, and every private part that is not where it is expected.
_MOVED = """
import json, os
import lambda_image.handler
from airflow.version import version
from lambda_image.runtime import processes
# Not printed, which makes a line of the log of it.
os.write(1, json.dumps([version, processes.missing()]).encode())
"""


@pytest.fixture(scope="module", params=list(VENVS))
def minor(request: pytest.FixtureRequest) -> str:
    """Every supported minor version."""
    version: str = request.param
    return version


@pytest.fixture(scope="module")
def handler(minor: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[HandlerProcess]:
    """A warm environment with this version of Airflow."""
    folder = tmp_path_factory.mktemp("handler")
    (folder / "dags").mkdir()
    (folder / "dags" / "handled.py").write_text(DAGS)
    server = Server()
    process = HandlerProcess(folder, folder / "dags", server, program=[python_of(minor)])
    yield process
    process.close()
    server.close()


def test_no_private_part_has_moved(minor: str, tmp_path: Path) -> None:
    """All parts that the handler patches are there, under their names."""
    done = subprocess.run(
        [python_of(minor), "-c", _MOVED],
        env={
            **image_variables(),
            "AIRFLOW__CORE__DAGS_FOLDER": str(tmp_path),
            "AWS_DEFAULT_REGION": "eu-west-1",
            "AWS_REGION": "eu-west-1",
            "PATH": os.environ["PATH"],
            "PYTHONPATH": f"{ROOT}:{ROOT / 'executor/src'}",
            "TMPDIR": str(tmp_path),
        },
        stdout=subprocess.PIPE,
        check=True,
        text=True,
    )
    version, moved = json.loads(done.stdout.splitlines()[-1])
    assert version.startswith(f"{minor}.")
    assert moved == []


def test_a_task_runs(handler: HandlerProcess) -> None:
    """The API hears of the success, the queue of the end, and the log has the task's output."""
    result, log = handler.run(task("says"))
    assert (result.reason, result.outcome, result.return_code) == ("", Outcome.COMPLETED, 0)
    assert "said by the task" in log
    assert told(handler) == ["success"]


def test_the_supervisor_wakes_when_its_child_ends(minor: str, handler: HandlerProcess) -> None:
    """A killed task costs no wait of five seconds, and Airflow hears that it may be tried again.

    Airflow 3.0 does not tell its supervisors whether a task may.
    """
    handler.server.run_context = {"max_tries": 1, "should_retry": True}
    began_s = time.monotonic()
    result, _ = handler.run(task("is_killed"))
    assert time.monotonic() - began_s < 3
    assert (result.outcome, result.return_code) == (Outcome.CRASHED, -9)
    assert told(handler) == ["failed" if minor == "3.0" else "up_for_retry"]


def test_a_callback_runs(minor: str, handler: HandlerProcess) -> None:
    """A callback runs since 3.2; older versions reject it with the reason."""

    def run(path: str) -> Result:
        callback = {"id": str(uuid.uuid4()), "fetch_method": "import_path", "data": {"path": path}}
        workload = task("says", type="ExecuteCallback", callback=callback)
        del workload["ti"]
        return handler.run(workload)[0]

    result = run("os.getcwd")
    if minor in ("3.0", "3.1"):
        assert result.outcome is Outcome.REJECTED
        assert "not a workload that Airflow" in result.reason
        return
    assert (result.outcome, result.return_code) == (Outcome.COMPLETED, 0)
    assert run("no_such_module.function").return_code == 1


def told(handler: HandlerProcess) -> list[Any]:
    """The states that were sent to the Execution API."""
    calls = handler.server.calls
    return [body["state"] for _, path, body in calls if path.endswith("/state")]
