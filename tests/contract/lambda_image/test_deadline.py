"""The deadline, in the real handler with Airflow's real task runtime: no task outlives it.

One environment for all of it. Lambda would end it 4.5 s after an invocation's begin; tasks are
asked to stop after 1.5 s and killed after 2.5 s.
"""

from __future__ import annotations

import json
import socket
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from lambda_executor.contract.wire import Outcome, Result
from tests.support.handler_process import (
    HandlerProcess,
    Server,
    connection_test,
    processes_with,
    running,
    task,
)

TIME_OUT_S = 4.5
MARGINS = {
    "AIRFLOW__LAMBDA_EXECUTOR__STOP_MARGIN_S": "3",
    "AIRFLOW__LAMBDA_EXECUTOR__KILL_MARGIN_S": "2",
}

#: How long the processes of `starts_processes` would sleep: it tells them from all others.
NAP = "86311.5"

DAGS = f"""
import datetime, hashlib, signal, time
from airflow.providers.standard.operators.bash import BashOperator
from airflow.sdk import BaseOperator, dag, task

ALL = set(range(1, signal.NSIG)) - {{signal.SIGKILL, signal.SIGSTOP, 32, 33}}

class Killable(BaseOperator):
    def execute(self, context):
        self.log.info("executing")
        time.sleep(60)
    def on_kill(self):
        self.log.info("on_kill was called")

class Resumed(BaseOperator):
    def execute(self, context):
        raise AssertionError("it was deferred before")
    def goes_on(self, context, event=None):
        time.sleep(60)

class BadlyKillable(Killable):
    def on_kill(self):
        raise ValueError("on_kill is broken")

def waits_for_ever():
    time.sleep(60)

@dag(schedule=None)
def handled():
    @task
    def loops():
        while True:
            pass
    @task
    def is_blocked_in_c():
        hashlib.pbkdf2_hmac("sha256", b"password", b"salt", 2**31 - 1)
    @task
    def blocks_signals():
        signal.pthread_sigmask(signal.SIG_BLOCK, ALL)
        time.sleep(60)
    @task
    def ignores_signals():
        for number in ALL:
            signal.signal(number, signal.SIG_IGN)
        time.sleep(60)
    @task
    def swallows_exceptions():
        while True:
            try:
                time.sleep(60)
            except BaseException as e:
                print("swallowed", type(e).__name__)
    @task(execution_timeout=datetime.timedelta(seconds=0.5))
    def times_out_by_itself():
        time.sleep(60)
    @task
    def ends_in_time():
        time.sleep(0.1)
    @task
    def fails():
        raise ValueError("on purpose")
    for each in (
        loops, is_blocked_in_c, blocks_signals, ignores_signals, swallows_exceptions,
        times_out_by_itself, ends_in_time, fails,
    ):
        each()
    Killable(task_id="is_killable")
    Killable(task_id="has_its_own_time_out", execution_timeout=datetime.timedelta(seconds=60))
    BadlyKillable(task_id="is_badly_killable")
    Resumed(task_id="is_resumed")
    BashOperator(
        task_id="starts_processes",
        bash_command=(
            "trap '' TERM; sleep {NAP} & setsid sleep {NAP} & "
            "(setsid sh -c 'sleep {NAP} &' &); wait; wait"
        ),
    )

handled()
"""


@pytest.fixture(scope="module")
def warm(tmp_path_factory: pytest.TempPathFactory) -> Iterator[HandlerProcess]:
    """One warm environment for all tests."""
    folder = tmp_path_factory.mktemp("deadline")
    logs = {"AIRFLOW__LOGGING__BASE_LOG_FOLDER": str(folder / "logs")}  # Kept: it may be shared.
    with running(folder, DAGS, MARGINS | logs) as process:
        process.run(task("ends_in_time"))  # The init phase is over.
        yield process


@pytest.fixture
def without_s3(warm: HandlerProcess, tmp_path: Path) -> Iterator[HandlerProcess]:
    """An environment that uploads logs to an S3 which takes the connection and never answers."""
    with socket.create_server(("127.0.0.1", 0)) as silent:
        variables = {
            "AIRFLOW__LOGGING__REMOTE_LOGGING": "True",
            "AIRFLOW__LOGGING__REMOTE_BASE_LOG_FOLDER": "s3://logs/stage",
            "AWS_ENDPOINT_URL_S3": f"http://127.0.0.1:{silent.getsockname()[1]}",
        }
        dags, server = warm.temporary.parent / "dags", Server()
        process = HandlerProcess(tmp_path, dags, server, MARGINS | variables)
        yield process
        process.close()
        server.close()


@pytest.fixture
def handler(warm: HandlerProcess) -> Iterator[HandlerProcess]:
    """The warm environment, with an API server that answers, and no retry left."""
    warm.server.run_context = {}
    yield warm
    warm.server.silent_on = None


def run(handler: HandlerProcess, task_id: str, **changes: Any) -> tuple[Result, str]:
    """Run a task against the deadline; check that it ends before the time-out."""
    result, log = handler.run(task(task_id, **changes), TIME_OUT_S)
    assert result.run_ms is not None
    assert result.run_ms < TIME_OUT_S * 1000
    return result, log


def task_log(handler: HandlerProcess) -> list[str]:
    """The newest task's log as Airflow's UI shows it."""
    files = (handler.temporary.parent / "logs").rglob("*.log")
    newest = max(files, key=lambda file: file.stat().st_mtime_ns)
    return [json.loads(line)["event"] for line in newest.read_text().splitlines()]


@pytest.mark.parametrize(
    ("should_retry", "state"), [(False, "failed"), (True, "up_for_retry")], ids=["last", "retry"]
)
def test_a_busy_loop_is_stopped(handler: HandlerProcess, state: str, *, should_retry: bool) -> None:
    """The task fails as by its own time-out, with a line in its log, and is retried if allowed."""
    handler.server.run_context = {"should_retry": should_retry}
    result, log = run(handler, "loops")
    assert (result.outcome, result.return_code) == (Outcome.DEADLINE, 0)
    assert result.reason.startswith("stopped 3 s before the end of the function's time-out")
    assert handler.server.told_states() == [state]
    assert any(line.startswith("stopped 3 s before the end") for line in task_log(handler))
    assert "AirflowTaskTimeout" in log


def test_a_mapped_task_is_stopped(handler: HandlerProcess) -> None:
    """A mapped task is stopped like any other."""
    workload = task("is_killable")
    workload["ti"]["map_index"] = 2
    result, _ = handler.run(workload, TIME_OUT_S)
    assert (result.outcome, handler.server.told_states()) == (Outcome.DEADLINE, ["failed"])


def test_a_task_that_was_deferred_is_stopped_when_it_goes_on(handler: HandlerProcess) -> None:
    """The second part of a deferrable task has the deadline of its own invocation."""
    handler.server.run_context = {"next_method": "goes_on", "next_kwargs": {}}
    result, _ = run(handler, "is_resumed")
    assert (result.outcome, handler.server.told_states()) == (Outcome.DEADLINE, ["failed"])


@pytest.mark.parametrize("task_id", ["is_killable", "has_its_own_time_out"])
def test_an_operator_cleans_up_once(handler: HandlerProcess, task_id: str) -> None:
    """`on_kill` is called exactly once, whether or not Airflow calls it too."""
    result, log = run(handler, task_id)
    assert result.outcome is Outcome.DEADLINE
    assert log.count('"on_kill was called"') == 1


def test_a_broken_on_kill_is_told_and_the_task_stops(handler: HandlerProcess) -> None:
    """An error of `on_kill` is logged, and the task ends as without it."""
    result, log = run(handler, "is_badly_killable")
    assert (result.outcome, result.return_code) == (Outcome.DEADLINE, 0)
    assert handler.server.told_states() == ["failed"]
    assert "on_kill is broken" in log


def test_the_processes_of_a_task_end_with_it(handler: HandlerProcess) -> None:
    """Children, sessions and orphans of a task are gone when its end is reported."""
    result, _ = run(handler, "starts_processes")
    assert result.outcome is Outcome.DEADLINE
    assert handler.server.told_states() == ["failed"]
    assert processes_with(NAP) == []


@pytest.mark.parametrize(
    "task_id", ["is_blocked_in_c", "blocks_signals", "ignores_signals", "swallows_exceptions"]
)
def test_a_task_that_does_not_stop_is_killed(handler: HandlerProcess, task_id: str) -> None:
    """The supervisor reports the end to Airflow and to the log in its place."""
    result, _ = run(handler, task_id)
    assert (result.outcome, result.return_code) == (Outcome.DEADLINE, -9)
    assert result.reason.startswith("killed 2 s before the end of the function's time-out")
    assert handler.server.told_states() == ["failed"]
    assert any(line.startswith("killed 2 s before the end") for line in task_log(handler))


def test_a_killed_task_is_tried_again_if_it_may(handler: HandlerProcess) -> None:
    """A killed task gets its retry; stock Airflow would leave it `running`."""
    handler.server.run_context = {"should_retry": True}
    result, _ = run(handler, "blocks_signals")
    assert (result.outcome, result.return_code) == (Outcome.DEADLINE, -9)
    assert handler.server.told_states() == ["up_for_retry"]


def test_a_tasks_own_time_out_comes_first(handler: HandlerProcess) -> None:
    """`execution_timeout` ends a task as ever, and is not a deadline."""
    result, _ = run(handler, "times_out_by_itself")
    assert (result.outcome, result.return_code) == (Outcome.COMPLETED, 0)
    assert handler.server.told_states() == ["failed"]


def test_a_callback_is_stopped(handler: HandlerProcess) -> None:
    """A callback has no state in Airflow: the result alone says that it failed."""
    callback = {"id": str(uuid.uuid4()), "fetch_method": "import_path"}
    workload = task("loops", type="ExecuteCallback")
    workload["callback"] = callback | {"data": {"path": "handled.waits_for_ever", "kwargs": {}}}
    del workload["ti"]
    result, log = handler.run(workload, TIME_OUT_S)
    assert result.outcome is Outcome.DEADLINE
    assert result.return_code != 0
    assert "stopped 3 s before the end" in log


def test_a_connection_test_is_stopped(handler: HandlerProcess) -> None:
    """A connection test has a process here, so it can be stopped."""
    handler.server.silent_on = "/connection"
    result, _ = handler.run(connection_test(timeout_s=60), TIME_OUT_S)
    assert result.outcome is Outcome.DEADLINE
    told = [body["state"] for method, _, body in handler.server.calls if method == "PATCH"]
    assert told == ["failed"]


def test_an_api_that_does_not_answer_to_the_end_holds_no_result_up(
    handler: HandlerProcess,
) -> None:
    """The executor hears in time that the task ended and that Airflow was not notified."""
    handler.server.silent_on = "/state"
    result, _ = run(handler, "loops")
    assert result.outcome is Outcome.DEADLINE
    assert result.return_code != 0
    assert "the task ended as failed, but Airflow could not be notified" in result.reason
    assert "is too slow" in result.reason


def test_an_api_that_does_not_answer_to_the_start_holds_no_result_up(
    handler: HandlerProcess,
) -> None:
    """The task was not run, whatever Airflow heard; the environment goes on."""
    handler.server.silent_on = "/run"
    result, _ = run(handler, "loops")
    assert result.outcome is Outcome.REJECTED
    assert "is too slow" in result.reason
    handler.server.silent_on = None
    assert run(handler, "ends_in_time")[0].outcome is Outcome.COMPLETED


def test_an_end_without_notice_is_no_success(without_s3: HandlerProcess) -> None:
    """Although the upload of the log takes the rest of the time: Airflow waits for the end."""
    without_s3.server.script["/state"] = [(503, "away")] * 99
    result, _ = without_s3.run(task("fails"), TIME_OUT_S)
    assert (result.outcome, result.return_code) == (Outcome.CRASHED, 1)
    assert result.reason.startswith("the task ended as failed, but Airflow could not be notified")
    assert "HTTP 503" in result.reason
    assert result.task_state is None


def test_an_end_that_airflow_refuses_is_not_its_state(without_s3: HandlerProcess) -> None:
    """Although the upload of the log takes the rest of the time: what somebody set counts."""
    detail = {"reason": "invalid_state", "message": "no", "previous_state": "failed"}
    without_s3.server.script["/state"] = [(409, detail)] * 3
    result, _ = without_s3.run(task("ends_in_time"), TIME_OUT_S)
    assert (result.outcome, result.return_code) == (Outcome.COMPLETED, 0)
    assert "Airflow had already set it to failed" in result.reason


def test_a_log_that_is_not_uploaded_in_time_fails_no_task(without_s3: HandlerProcess) -> None:
    """Airflow was notified of the success; the reason says what is missing."""
    result, _ = without_s3.run(task("ends_in_time"), TIME_OUT_S)
    assert (result.outcome, result.return_code) == (Outcome.COMPLETED, 0)
    assert (result.task_state, result.reason) == (
        "success",
        "Its log could not be uploaded in time",
    )


def test_margins_that_cannot_work_fail_the_init_phase(
    tmp_path: Path,
) -> None:
    """The log names both variables, their values and the rule."""
    margins = dict.fromkeys(MARGINS, "5")
    process = HandlerProcess(tmp_path, tmp_path, Server(), margins)
    with pytest.raises(AssertionError):
        process.invoke({})
    process.close()
    log = process.output.read_text()
    assert "STOP_MARGIN_S is 5 and AIRFLOW__LAMBDA_EXECUTOR__KILL_MARGIN_S is 5" in log
