"""The real handler with Airflow's real task runtime: every kind of end, in one warm process."""

from __future__ import annotations

import json
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from lambda_executor.contract.wire import Outcome
from lambda_image.machine.temporary import OWNER
from tests.support.handler_process import TOKEN, HandlerProcess, connection_test, running, task

DAGS = """
import os, signal
from airflow.sdk import dag, task

@dag(schedule=None)
def handled():
    @task
    def says():
        print("said by the task", os.environ.get("LEFT_BEHIND"), os.getcwd())
    @task
    def leaves_things_behind():
        os.environ["LEFT_BEHIND"] = "left behind"
        os.chdir("/")
    @task
    def fails():
        raise ValueError("on purpose")
    @task
    def is_killed():
        os.kill(os.getpid(), signal.SIGKILL)
    @task
    def exits():
        os._exit(7)
    for each in (says, leaves_things_behind, fails, is_killed, exits):
        each()

handled()
"""


@pytest.fixture(scope="module")
def warm(tmp_path_factory: pytest.TempPathFactory) -> Iterator[HandlerProcess]:
    """One warm environment for all tests: what one leaves behind would show in the next."""
    with running(tmp_path_factory.mktemp("handler"), DAGS) as process:
        yield process
    assert list(process.temporary.iterdir()) == []  # Its home went with it.


@pytest.fixture
def handler(warm: HandlerProcess) -> HandlerProcess:
    """The warm environment, with an API server that lets everything start."""
    warm.server.start_answer = None
    return warm


def lines_of(log: str) -> list[dict[str, Any]]:
    """The lines of the log: every one is JSON."""
    return [json.loads(line) for line in log.splitlines()]


def events(log: str) -> list[str]:
    """The events of the log lines."""
    return [line["event"] for line in lines_of(log)]


def settled(log: str) -> dict[str, Any]:
    """The one log line about the end."""
    (line,) = [line for line in lines_of(log) if line["event"] == "invocation settled"]
    return line


def told_states(handler: HandlerProcess) -> list[str]:
    """The states that were sent to the Execution API."""
    calls = handler.server.calls
    return [body["state"] for _, path, body in calls if path.endswith("/state")]


def test_a_task_runs_and_its_end_is_told(handler: HandlerProcess) -> None:
    """The API hears of the success, the queue of the end, the log has the task's output."""
    workload = task("says")
    result, log = handler.run(workload)
    assert (result.outcome, result.return_code, result.reason) == (Outcome.COMPLETED, 0, "")
    assert told_states(handler) == ["success"]
    assert "said by the task" in log
    line = settled(log)
    assert (line["dag_id"], line["task_id"], line["try_number"]) == ("handled", "says", 1)


def test_a_task_starts_under_the_environments_own_name(handler: HandlerProcess) -> None:
    """The API server can tell a second start elsewhere from a repeated call."""
    handler.run(task("says"))
    start = next(body for _, path, body in handler.server.calls if path.endswith("/run"))
    assert start["hostname"] == "function-abc"


def test_a_task_leaves_nothing_to_the_next(handler: HandlerProcess) -> None:
    """Variables and working directory of one task do not reach the next."""
    handler.run(task("leaves_things_behind"))
    _, log = handler.run(task("says"))
    (said,) = [event for event in events(log) if event.startswith("said by the task")]
    assert said == f"said by the task None {Path.cwd()}"


def test_a_warm_environment_does_not_fill_its_disk(handler: HandlerProcess) -> None:
    """Log files that nobody else reads are removed after the task."""
    handler.run(task("says"))
    handler.run(task("is_killed"))
    assert [path.name for path in handler.temporary.rglob("*") if path.is_file()] == [OWNER]


def test_a_failure_that_the_runtime_handled_is_a_completed_run(handler: HandlerProcess) -> None:
    """The runtime has reported the task's state, so the invocation completed."""
    result, _ = handler.run(task("fails"))
    assert (result.outcome, result.return_code) == (Outcome.COMPLETED, 0)
    assert told_states(handler) == ["failed"]


def test_a_killed_task_is_reported_by_its_parent(handler: HandlerProcess) -> None:
    """The result has the signal and its likely cause, and the environment goes on."""
    result, _ = handler.run(task("is_killed"))
    assert (result.outcome, result.return_code) == (Outcome.CRASHED, -9)
    assert "out of memory" in result.reason
    assert handler.run(task("says"))[0].return_code == 0


def test_an_exit_without_a_word_keeps_its_code(handler: HandlerProcess) -> None:
    """A task that calls os._exit is reported with its exit code."""
    result, _ = handler.run(task("exits"))
    assert result.return_code == 7
    assert "exit code 7" in result.reason


def invalid_state(state: str) -> tuple[int, dict[str, str]]:
    """The API server's refusal of a start because of the task's state."""
    return 409, {"reason": "invalid_state", "message": "no", "previous_state": state}


@pytest.mark.parametrize("state", ["running", "deferred", "up_for_reschedule", "scheduled"])
def test_a_second_start_is_a_duplicate(handler: HandlerProcess, state: str) -> None:
    """If another start of the same try came first, this one settles nothing."""
    handler.server.start_answer = invalid_state(state)
    result, _ = handler.run(task("says"))
    assert result.outcome is Outcome.DUPLICATE
    assert told_states(handler) == []


@pytest.mark.parametrize("state", ["success", "failed", "skipped", "up_for_retry"])
def test_a_task_that_airflow_ended_meanwhile_is_settled(
    handler: HandlerProcess, state: str
) -> None:
    """Nobody else would settle an invocation whose task was marked while it waited."""
    handler.server.start_answer = invalid_state(state)
    result, _ = handler.run(task("says"))
    assert (result.outcome, result.return_code) == (Outcome.COMPLETED, 0)
    assert state in result.reason


@pytest.mark.parametrize(
    ("answer", "says"),
    [
        ((403, "Invalid auth token: Signature has expired"), "Signature has expired"),
        ((404, {"reason": "not_found", "message": "no"}), "cleared or deleted"),
        ((500, "broken"), "HTTP 500"),
        ((0, None), "closed the connection without an answer"),
    ],
)
def test_a_start_that_the_api_refuses_is_rejected(
    handler: HandlerProcess, answer: tuple[int, Any], says: str
) -> None:
    """Nothing was started, and the reason says why."""
    handler.server.start_answer = answer
    result, _ = handler.run(task("says"), time_out_s=8)
    assert result.outcome is Outcome.REJECTED
    assert says in result.reason


@pytest.mark.parametrize(
    ("workload", "says"),
    [
        (task("says", dag_rel_path="gone.py"), "gone.py is not in the function's image"),
        (task("says", bundle_info={"name": "other"}), "no DAG bundle 'other', only dags-folder"),
        (task("says", ti={"id": "no"}), "not a workload that Airflow"),
        ({"type": "RunTrigger", "token": TOKEN}, "not a workload that Airflow"),
    ],
)
def test_an_unfit_workload_is_rejected_before_airflow_hears_of_it(
    handler: HandlerProcess, workload: dict[str, Any], says: str
) -> None:
    """The task stays queued in Airflow, and the result has the reason."""
    result, _ = handler.run(workload)
    assert result.outcome is Outcome.REJECTED
    assert says in result.reason
    assert handler.server.calls == []


@pytest.mark.parametrize(
    ("path", "outcome", "code"),
    [("os.getcwd", Outcome.COMPLETED, 0), ("no_such_module.function", Outcome.CRASHED, 1)],
)
def test_a_callback_runs(handler: HandlerProcess, path: str, outcome: Outcome, code: int) -> None:
    """The result alone reports a callback: the API has no call for it."""
    callback = {"id": str(uuid.uuid4()), "fetch_method": "import_path", "data": {"path": path}}
    workload = task("says", type="ExecuteCallback", callback=callback)
    del workload["ti"]
    result, log = handler.run(workload)
    assert (result.outcome, result.return_code) == (outcome, code)
    assert settled(log)["dag_id"] is None


def test_a_connection_test_runs(handler: HandlerProcess) -> None:
    """The API gets the outcome of the connection test."""
    result, _ = handler.run(connection_test())
    assert result.return_code == 0
    assert [body["state"] for method, _, body in handler.server.calls if method == "PATCH"] == [
        "failed"  # There is no such connection type.
    ]


def test_an_event_of_somebody_else_raises(handler: HandlerProcess) -> None:
    """The event becomes a dead letter, and the environment stays usable."""
    answer, _ = handler.invoke({"detail-type": "Scheduled Event"})
    assert answer["raised"].startswith("DecodeError")
    assert handler.run(task("says"))[0].return_code == 0


def test_no_output_holds_a_token(handler: HandlerProcess) -> None:
    """The log of all workloads so far has no token in it."""
    handler.server.start_answer = (403, f"Invalid auth token: {TOKEN}")
    result, _ = handler.run(task("says"))
    assert "***" in result.reason
    log = handler.output.read_text()
    assert log.count("invocation settled") > 1
    assert TOKEN not in log
