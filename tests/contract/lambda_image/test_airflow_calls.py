"""What each Airflow is notified of when its API server is away, slow, or loses answers.

The real handler with Airflow's real supervisor, of every supported minor version, against an
Execution API that misbehaves by script.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest

from lambda_executor.contract.wire import Outcome, Result
from tests.support.handler_process import HandlerProcess, running, task
from tests.support.minors import python_of

DAGS = """
import datetime, os, signal, subprocess, sys, time
from airflow.exceptions import AirflowSkipException
from airflow.sdk import BaseOperator, dag, task
from airflow.sdk.bases.sensor import BaseSensorOperator
from airflow.providers.standard.triggers.temporal import TimeDeltaTrigger

class Defers(BaseOperator):
    def execute(self, context):
        self.defer(
            trigger=TimeDeltaTrigger(datetime.timedelta(days=1)), method_name="execute_complete"
        )

class NeverThere(BaseSensorOperator):
    def poke(self, context):
        return False

@dag(schedule=None, start_date=datetime.datetime(2020, 1, 1))
def handled():
    @task
    def succeeds():
        print("said by the task")
    @task
    def fails():
        raise ValueError("on purpose")
    @task
    def skips():
        raise AirflowSkipException("on purpose")
    @task
    def has_children():
        nap = "import time; time.sleep(86312.5)"
        subprocess.Popen([sys.executable, "-c", nap], start_new_session=True)
        while True:  # A signal to the group of processes must not let the task succeed.
            subprocess.run([sys.executable, "-c", nap])
    @task
    def is_killed():
        os.kill(os.getpid(), signal.SIGKILL)
    for each in (succeeds, fails, skips, has_children, is_killed):
        each()
    Defers(task_id="defers")
    NeverThere(task_id="reschedules", mode="reschedule", poke_interval=60)

handled()
"""

#: What Airflow is notified of when it ended the task itself; 3.4 wants an acknowledgement.
ACKNOWLEDGED: tuple[list[str], ...] = ([], ["server_terminated"])
#: A closed connection without an answer.
LOST = (0, None)
#: The end of each task, and the states in which Airflow may be when its answer was lost.
ENDS = {
    "succeeds": "success",
    "fails": "failed",
    "skips": "skipped",
    "defers": "deferred",
    "reschedules": "up_for_reschedule",
}


@pytest.fixture(scope="module")
def warm(minor: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[HandlerProcess]:
    """A warm environment with this version of Airflow, which sends a heartbeat every second."""
    folder = tmp_path_factory.mktemp("handler")
    variables = {
        "AIRFLOW__WORKERS__MIN_HEARTBEAT_INTERVAL": "1",
        "AIRFLOW__LAMBDA_EXECUTOR__STOP_MARGIN_S": "4",
        "AIRFLOW__LAMBDA_EXECUTOR__KILL_MARGIN_S": "3",
        "AIRFLOW__WORKERS__EXECUTION_API_TIMEOUT": "2",
        "AIRFLOW__CORE__KILLED_TASK_CLEANUP_TIME": "3",  # 3.4 kills a task that goes on after it.
        "AIRFLOW__WORKERS__EXECUTION_API_RETRIES": "3",  # By Airflow's own client.
        "AIRFLOW__WORKERS__EXECUTION_API_RETRY_WAIT_MIN": "0.1",
        "AIRFLOW__WORKERS__EXECUTION_API_RETRY_WAIT_MAX": "0.3",
        "AIRFLOW__LOGGING__BASE_LOG_FOLDER": str(folder / "logs"),  # Kept: it may be shared.
    }
    with running(folder, DAGS, variables, [python_of(minor)]) as process:
        process.run(task("succeeds"))
        yield process


@pytest.fixture
def handler(warm: HandlerProcess) -> Iterator[HandlerProcess]:
    """The warm environment with an API server that answers; it is usable after each test."""
    warm.server.run_context = {}
    yield warm
    warm.server.run_context = {}
    warm.server.found.clear()
    warm.server.script.clear()
    warm.server.silent_on = None
    result, _ = warm.run(task("succeeds"))
    assert (result.outcome, result.return_code, result.reason) == (Outcome.COMPLETED, 0, "")


def starts(handler: HandlerProcess) -> list[Any]:
    """The calls with which a start was reported."""
    return [body for _, path, body in handler.server.calls if path.endswith("/run")]


def told(handler: HandlerProcess) -> list[str]:
    """The states that were sent to the Execution API."""
    return handler.server.told_states()


def is_over(state: str) -> tuple[int, dict[str, str]]:
    """The answer to a heartbeat of a task that Airflow has in another state than `running`."""
    detail = {"reason": "not_running", "message": "TI is no longer in the running state"}
    return 409, detail | {"current_state": state}


def is_elsewhere() -> tuple[int, dict[str, Any]]:
    """The answer to a heartbeat of a task that another process runs by now."""
    detail = {"reason": "running_elsewhere", "message": "TI is already running elsewhere"}
    return 409, detail | {"current_hostname": "other", "current_pid": 7}


def lose_answer_to_end(handler: HandlerProcess, heartbeat: tuple[int, Any]) -> None:
    """Have Airflow take the task's end without an answer, and answer so to heartbeats then."""
    script = handler.server.script
    script["/state"] = [(0, lambda: script.update({"/heartbeat": [heartbeat]}))]


def logged(handler: HandlerProcess, workload: dict[str, Any]) -> str:
    """The task's own log, as Airflow's UI reads it; empty if there is none."""
    file = handler.temporary.parent / "logs" / workload["log_path"]
    return file.read_text() if file.exists() else ""


def run(handler: HandlerProcess, task_id: str, time_out_s: float = 900) -> Result:
    """Run a task to its result."""
    return handler.run(task(task_id), time_out_s)[0]


@pytest.mark.parametrize(("task_id", "state"), ENDS.items())
def test_the_result_has_the_state_that_airflow_was_given(
    handler: HandlerProcess, task_id: str, state: str
) -> None:
    """The executor learns how the task ended, in Airflow's own word."""
    result = run(handler, task_id)
    assert (result.outcome, result.return_code, result.task_state) == (
        Outcome.COMPLETED,
        0,
        state,
    )
    assert told(handler) == [state]


def test_a_retry_is_a_state_of_its_own(handler: HandlerProcess) -> None:
    """A failed task with tries left is `up_for_retry`."""
    handler.server.run_context = {"max_tries": 1, "should_retry": True}
    result = run(handler, "fails")
    assert (result.outcome, result.task_state) == (Outcome.COMPLETED, "up_for_retry")


@pytest.mark.parametrize("state", ["running", "deferred"])
def test_a_second_start_is_a_duplicate(handler: HandlerProcess, state: str) -> None:
    """Another start of the same try counts: this one settles nothing, and ends no healthy task."""
    detail = {"reason": "invalid_state", "message": "no", "previous_state": state}
    handler.server.script["/run"] = [(409, detail)]
    workload = task("succeeds")
    result, _ = handler.run(workload)
    assert (result.outcome, result.return_code) == (Outcome.DUPLICATE, 0)
    assert result.reason not in logged(handler, workload)  # It is the log of the try that runs.
    assert told(handler) in ACKNOWLEDGED


@pytest.mark.parametrize("state", ["success", "failed"])
def test_a_task_that_was_marked_meanwhile_is_settled(handler: HandlerProcess, state: str) -> None:
    """Nobody else would settle an invocation whose task was marked while it waited."""
    detail = {"reason": "invalid_state", "message": "no", "previous_state": state}
    handler.server.script["/run"] = [(409, detail)]
    workload = task("succeeds")
    result, _ = handler.run(workload)
    assert (result.outcome, result.return_code) == (Outcome.COMPLETED, 0)
    assert f"Airflow had already set the task's state to {state}" in result.reason
    # A slow machine has more lines, about calls that are repeated.
    lines = map(json.loads, logged(handler, workload).splitlines())
    assert [line["level"] for line in lines if line["event"] == result.reason] == ["info"]


def test_a_task_that_airflow_does_not_know_any_more_is_rejected(handler: HandlerProcess) -> None:
    """A cleared task has another id; nothing was started, and the reason says so."""
    handler.server.script["/run"] = [(404, {"reason": "not_found", "message": "no"})]
    result = run(handler, "succeeds")
    assert result.outcome is Outcome.REJECTED
    assert "cleared or deleted" in result.reason


def test_a_start_is_repeated_until_airflow_answers(handler: HandlerProcess) -> None:
    """An API server that is away costs no try; each call is the same start to it."""
    handler.server.script["/run"] = [LOST, (503, "starting"), (429, "slowly"), LOST]
    result = run(handler, "succeeds")
    assert (result.outcome, result.task_state) == (Outcome.COMPLETED, "success")
    calls = [(each["hostname"], each["unixname"], each["pid"]) for each in starts(handler)]
    assert len(calls) == 5
    assert len(set(calls)) == 1


def test_a_start_is_not_repeated_for_ever(handler: HandlerProcess) -> None:
    """After half of the time nothing was started, and the reason says why."""
    handler.server.script["/run"] = [(503, "starting")] * 99
    result = run(handler, "succeeds", time_out_s=10)
    assert result.outcome is Outcome.REJECTED
    assert "HTTP 503" in result.reason
    assert len(starts(handler)) > 3
    assert told(handler) == []


@pytest.mark.parametrize(("task_id", "state"), ENDS.items())
def test_an_end_whose_answer_is_lost_is_the_tasks_true_end(
    handler: HandlerProcess, task_id: str, state: str
) -> None:
    """Airflow took the call: it is not repeated, and no success becomes a failure."""
    lose_answer_to_end(handler, is_over(state))
    result = run(handler, task_id)
    assert (result.outcome, result.return_code) == (Outcome.COMPLETED, 0)
    assert (result.task_state, told(handler)) == (state, [state])


def test_an_end_is_not_repeated_into_a_later_run(handler: HandlerProcess) -> None:
    """The rest of a deferred task runs elsewhere by now: a second `deferred` would stop it."""
    lose_answer_to_end(handler, is_elsewhere())
    result = run(handler, "defers")
    assert (result.outcome, result.task_state) == (Outcome.COMPLETED, "deferred")
    assert told(handler) == ["deferred"]


def test_a_retry_whose_answer_is_lost_has_another_id(handler: HandlerProcess) -> None:
    """Airflow gives the next try another id, so it does not know ours any more."""
    handler.server.run_context = {"max_tries": 1, "should_retry": True}
    lose_answer_to_end(handler, (404, {"reason": "not_found", "message": "no"}))
    result = run(handler, "fails")
    assert (result.outcome, result.task_state) == (Outcome.COMPLETED, "up_for_retry")
    assert told(handler) == ["up_for_retry"]


@pytest.mark.parametrize(("task_id", "state"), ENDS.items())
def test_an_end_that_did_not_arrive_is_sent_again(
    handler: HandlerProcess, task_id: str, state: str
) -> None:
    """Airflow still holds the task as running: the handler tries again until it answers."""
    handler.server.script["/state"] = [LOST, (500, "broken"), LOST]
    result = run(handler, task_id)
    assert (result.outcome, result.return_code) == (Outcome.COMPLETED, 0)
    assert (result.task_state, told(handler)) == (state, [state] * 4)


@pytest.mark.parametrize(("task_id", "state"), ENDS.items())
def test_an_end_of_which_airflow_was_not_notified_is_no_success(
    handler: HandlerProcess, task_id: str, state: str
) -> None:
    """The result and the log say how the task ended and that Airflow does not know."""
    handler.server.script["/state"] = [(503, "away")] * 99
    workload = task(task_id)
    result, _ = handler.run(workload, 9)
    assert result.outcome in (Outcome.CRASHED, Outcome.DEADLINE)
    assert result.return_code != 0
    assert f"the task ended as {state}, but Airflow could not be notified" in result.reason
    assert "HTTP 503" in result.reason
    assert result.task_state is None
    assert len(told(handler)) > 3
    said = f"the task ended as {state}, but Airflow could not be notified"
    assert said in logged(handler, workload)


def test_why_a_task_died_is_not_lost_when_airflow_is_away(handler: HandlerProcess) -> None:
    """The reason has both: what ended the task's process, and that Airflow does not know."""
    handler.server.run_context = {"max_tries": 1, "should_retry": True}
    handler.server.script["/state"] = [(503, "away")] * 99
    result = run(handler, "is_killed", time_out_s=9)
    assert (result.outcome, result.return_code) == (Outcome.CRASHED, -9)
    assert "was killed by SIGKILL" in result.reason
    asked = told(handler)[-1]  # Airflow 3.0 does not tell its supervisors of a retry.
    assert f"the task ended as {asked}, but Airflow could not be notified" in result.reason


def test_what_somebody_set_while_the_task_ran_counts(handler: HandlerProcess) -> None:
    """Airflow refuses the end of a task that a person has marked; that is no crash."""
    detail = {"reason": "invalid_state", "message": "no", "previous_state": "failed"}
    handler.server.script["/state"] = [(409, detail)] * 3
    workload = task("succeeds")
    result, _ = handler.run(workload)
    assert (result.outcome, result.return_code) == (Outcome.COMPLETED, 0)
    assert "Airflow had already set it to failed" in result.reason
    assert result.task_state is None
    assert result.reason in logged(handler, workload)


@pytest.mark.parametrize(
    "answer",
    [is_over("failed"), is_elsewhere(), (404, {"reason": "not_found", "message": "no"})],
    ids=["marked", "elsewhere", "cleared"],
)
def test_a_task_with_children_ends_when_airflow_says_so(
    handler: HandlerProcess, answer: tuple[int, Any]
) -> None:
    """The answer to a heartbeat ends the task and its children; the result says that it did."""
    handler.server.script["/heartbeat"] = [answer] * 9
    result = run(handler, "has_children", time_out_s=60)
    assert result.outcome is Outcome.CRASHED
    assert result.return_code in (-15, -9)
    assert "its state was changed" in result.reason
    assert told(handler) in ACKNOWLEDGED


def test_a_short_task_asks_for_nothing_that_it_does_not_need(handler: HandlerProcess) -> None:
    """Its start is its first heartbeat: start, rendered fields and end are all that is sent."""
    run(handler, "succeeds")
    paths = [path.rpartition("/")[2] for _, path, _ in handler.server.calls]
    assert paths == ["run", "rtif", "state"]


def test_an_outage_while_a_task_runs_is_waited_out(handler: HandlerProcess) -> None:
    """Lost heartbeats do not end a healthy task."""
    handler.server.script["/heartbeat"] = [LOST] * 4
    result = run(handler, "has_children", time_out_s=12)
    assert result.outcome is Outcome.DEADLINE
    assert handler.server.script["/heartbeat"] == []


def stale(handler: HandlerProcess, current_try: int | None, **context: Any) -> dict[str, Any]:
    """An event of the first try, when Airflow has this try under the same id."""
    handler.server.run_context = {"max_tries": 2, "should_retry": True} | context
    workload = task("succeeds")
    if current_try is not None:
        handler.server.found[f"/previous/handled/{workload['ti']['task_id']}"] = {
            "task_id": "succeeds",
            "dag_id": "handled",
            "run_id": "run",
            "logical_date": "2026-01-01T00:00:00Z",
            "state": "running",
            "try_number": current_try,
            "map_index": -1,
        }
    return workload


def test_an_event_of_an_older_try_does_nothing(minor: str, handler: HandlerProcess) -> None:
    """Airflow gets its start back and queues the current try again; the reason names both tries.

    Before Airflow 3.2 nothing shows it; since 3.4 each try has its own id.
    """
    result, log = handler.run(stale(handler, current_try=2))
    if minor in ("3.0", "3.1", "3.4"):
        assert (result.outcome, told(handler)) == (Outcome.COMPLETED, ["success"])
        return
    assert (result.outcome, told(handler)) == (Outcome.DUPLICATE, ["up_for_reschedule"])
    assert "this event is of try 1, and Airflow waits for try 2" in result.reason
    assert "said by the task" not in log


def test_an_event_older_than_the_last_try_does_nothing(minor: str, handler: HandlerProcess) -> None:
    """Airflow says of a start whether it is the last try, in every version."""
    result, log = handler.run(stale(handler, current_try=3, should_retry=False))
    if minor == "3.4":
        assert (result.outcome, told(handler)) == (Outcome.COMPLETED, ["success"])
        return
    assert (result.outcome, told(handler)) == (Outcome.DUPLICATE, ["up_for_reschedule"])
    assert "this event is of try 1, and Airflow waits for try 3" in result.reason
    assert "said by the task" not in log


def test_an_event_of_the_current_try_runs(handler: HandlerProcess) -> None:
    """A task that may be tried again runs, although its event has waited."""
    result, _ = handler.run(stale(handler, current_try=1))
    assert (result.outcome, told(handler)) == (Outcome.COMPLETED, ["success"])


def test_a_current_try_that_is_not_known_delays_no_start(handler: HandlerProcess) -> None:
    """Airflow is asked for it once, if at all: the start itself has succeeded."""
    handler.server.script["/succeeds"] = [(503, "away")] * 9
    result, _ = handler.run(stale(handler, current_try=None))
    assert (result.outcome, told(handler)) == (Outcome.COMPLETED, ["success"])
    asked = [path for _, path, _ in handler.server.calls if "/previous/" in path]
    assert len(asked) <= 1
