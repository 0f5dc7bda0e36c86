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
from tests.support.handler_process import (
    ROOT,
    HandlerProcess,
    Server,
    connection_test,
    image_variables,
    running,
    task,
)
from tests.support.minors import python_of

#: Lambda would end an environment this long after an invocation's begin; a task is asked to stop
#: after 1.5 s and killed after 2.5 s.
TIME_OUT_S = 4.5
VARIABLES = {
    "AIRFLOW__LAMBDA_EXECUTOR__STOP_MARGIN_S": "3",
    "AIRFLOW__LAMBDA_EXECUTOR__KILL_MARGIN_S": "2",
    # Options of 3.4 for workers of other executors, which change nothing here.
    "AIRFLOW__CORE__EXECUTE_TASKS_NEW_PYTHON_INTERPRETER": "True",
    "AIRFLOW__LOGGING__TASK_LOGS_TO_STDOUT": "True",
}

DAGS = """
import ctypes, os, signal, time
from airflow.sdk import dag, task

ALL = set(range(1, signal.NSIG)) - {signal.SIGKILL, signal.SIGSTOP, 32, 33}

def ends_the_process(context):
    os._exit(9)

@dag(schedule=None)
def handled():
    @task
    def says():
        print("said by the task")
    @task(retries=1)
    def is_killed():
        os.kill(os.getpid(), signal.SIGKILL)
    @task
    def crashes():
        ctypes.string_at(0)
    @task(retries=1, on_retry_callback=ends_the_process)
    def ends_after_its_report():
        raise ValueError("on purpose")
    @task
    def sleeps():
        time.sleep(60)
    @task
    def blocks_signals():
        signal.pthread_sigmask(signal.SIG_BLOCK, ALL)
        time.sleep(60)
    for each in (says, is_killed, crashes, ends_after_its_report, sleeps, blocks_signals):
        each()

handled()
"""

#: Prints the version, and every private part that is not where it is expected.
_MOVED = """
import json, os
import lambda_image.handler
from airflow.version import version
from lambda_image.runtime import known_parts
# Not printed, which makes a line of the log of it.
os.write(1, json.dumps([version, known_parts.missing()]).encode())
"""


@pytest.fixture(scope="module")
def handler(minor: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[HandlerProcess]:
    """A warm environment with this version of Airflow."""
    folder = tmp_path_factory.mktemp("handler")
    with running(folder, DAGS, VARIABLES, [python_of(minor)]) as process:
        yield process


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
    assert log.count("said by the task") == 1
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


def test_a_segmentation_fault_ends_the_task(handler: HandlerProcess) -> None:
    """Airflow's own handler for it, in Python, would never run, and the fault repeat for ever."""
    handler.server.run_context = {}
    result, _ = handler.run(task("crashes"), time_out_s=30)
    assert (result.outcome, result.return_code) == (Outcome.CRASHED, -11)
    assert told(handler) == ["failed"]


def test_a_report_counts_although_its_process_dies_after_it(handler: HandlerProcess) -> None:
    """A task that is to be tried again is, when its own callback ends the process.

    Airflow 3.4 passes some reports on only when the process has ended.
    """
    handler.server.run_context = {"max_tries": 1, "should_retry": True}
    result, _ = handler.run(task("ends_after_its_report"))
    assert result.return_code == 9
    assert told(handler) == ["up_for_retry"]


@pytest.mark.parametrize(("task_id", "code"), [("sleeps", 0), ("blocks_signals", -9)])
def test_a_task_ends_at_the_deadline(handler: HandlerProcess, task_id: str, code: int) -> None:
    """It is stopped, or killed where it cannot be; Airflow hears of it once."""
    handler.server.run_context = {}
    result, _ = handler.run(task(task_id), TIME_OUT_S)
    assert (result.outcome, result.return_code) == (Outcome.DEADLINE, code)
    assert told(handler) == ["failed"]


def test_a_task_that_was_cleared_while_it_waited_is_settled(
    minor: str, handler: HandlerProcess
) -> None:
    """Airflow 3.4 clears queued tasks too, and waits to hear that they do not run.

    Before, a task in this state runs elsewhere.
    """
    detail = {"reason": "invalid_state", "message": "no", "previous_state": "restarting"}
    handler.server.start_answer = 409, detail
    try:
        result, _ = handler.run(task("says"))
    finally:
        handler.server.start_answer = None
    if minor < "3.4":
        assert (result.outcome, told(handler)) == (Outcome.DUPLICATE, [])
    else:
        assert (result.outcome, result.return_code) == (Outcome.COMPLETED, 0)
        assert "cleared" in result.reason
        assert told(handler) == ["server_terminated"]


def test_a_connection_test_runs(minor: str, handler: HandlerProcess) -> None:
    """A connection test runs since 3.3; older versions reject it with the reason."""
    result, _ = handler.run(connection_test())
    if minor < "3.3":
        assert result.outcome is Outcome.REJECTED
        assert "not a workload that Airflow" in result.reason
        return
    assert result.return_code == 0
    states = [body["state"] for method, _, body in handler.server.calls if method == "PATCH"]
    assert states == ["failed"]  # There is no such connection type.


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


#: A bundle whose version is what its data says.
BUNDLE = """
from pathlib import Path
from airflow.dag_processing.bundles.base import BaseDagBundle

class ManifestBundle(BaseDagBundle):
    supports_versioning = True
    path = property(lambda self: Path(self.version_data["folder"]))

    def get_current_version(self):
        return self.version

    def refresh(self):
        pass
"""


def test_a_bundle_has_the_data_of_its_version(tmp_path: Path) -> None:
    """Airflow 3.4 gives it to the bundle's class, in the task's process and in ours."""
    (tmp_path / "manifest").mkdir()
    (tmp_path / "manifest" / "handled.py").write_text(DAGS)
    (tmp_path / "manifest_bundle.py").write_text(BUNDLE)
    bundles = [{"name": "m", "classpath": "manifest_bundle.ManifestBundle", "kwargs": {}}]
    variables = {
        "AIRFLOW__DAG_PROCESSOR__DAG_BUNDLE_CONFIG_LIST": json.dumps(bundles),
        "PYTHONPATH": f"{ROOT}:{ROOT / 'executor/src'}:{tmp_path}",
    }
    server = Server()
    handler = HandlerProcess(tmp_path, tmp_path, server, variables, [python_of("3.4")])
    data = {"folder": str(tmp_path / "manifest")}
    info = {"name": "m", "version": "1", "version_data": data}
    result, log = handler.run(task("says", bundle_info=info))
    assert (result.reason, told(handler)) == ("", ["success"])
    assert "said by the task" in log
    handler.close()
    server.close()


def told(handler: HandlerProcess) -> list[Any]:
    """The states that were sent to the Execution API."""
    calls = handler.server.calls
    return [body["state"] for _, path, body in calls if path.endswith("/state")]
