"""The doctor's rules, each on its own."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest

from lambda_executor.aws import EventFacts, FunctionFacts, ProbeReply, QueueFacts
from lambda_executor.contract.probe import ProbeAnswer
from lambda_executor.contract.wire import WIRE_VERSION
from lambda_executor.core.findings import Finding, Status
from lambda_executor.ops import diagnosis
from lambda_executor.ops.diagnosis import Versions

FUNCTION = FunctionFacts(
    state="Active",
    state_reason="",
    last_update="Successful",
    last_update_reason="",
    timeout_s=300,
    dead_letter_arn="arn:dead",
)
EVENTS = EventFacts(retries=0, age_s=540, destination_arn="")
QUEUE = QueueFacts("arn:dead", visible=0, hidden=0, retention_s=86400, visibility_timeout_s=120)
HERE = Versions(airflow="3.3.2", python="3.12.4")
ANSWER = ProbeAnswer("3.3.2", "3.12.4", WIRE_VERSION, "https://airflow/execution/", "", 3)


def probed(**changes: object) -> dict[str, Finding]:
    """The findings for an answer with some changes."""
    answer = replace(ANSWER, **changes)  # type: ignore[arg-type] # of one field each
    reply = ProbeReply(json.dumps(answer.encode()).encode())
    return {finding.subject: finding for finding in diagnosis.probed("f", reply, HERE)}


@pytest.mark.parametrize(
    ("state", "status"),
    [
        ("Active", Status.OK),
        ("Inactive", Status.OK),
        ("Pending", Status.PROBLEM),
        ("Failed", Status.PROBLEM),
    ],
)
def test_a_function_must_be_invokable(state: str, status: Status) -> None:
    """An invocation activates an inactive function; in the other states it does not run."""
    assert diagnosis.function("f", replace(FUNCTION, state=state)).status is status


def test_a_failed_update_is_a_problem_and_one_in_progress_is_not() -> None:
    """The previous version runs on while a function is updated."""
    failed = replace(FUNCTION, last_update="Failed", last_update_reason="no image")
    assert "no image" in diagnosis.function("f", failed).detail
    assert diagnosis.function("f", failed).is_problem
    updating = diagnosis.function("f", replace(FUNCTION, last_update="InProgress"))
    assert (updating.status, "in progress" in updating.detail) == (Status.OK, True)


@pytest.mark.parametrize(("age_s", "is_problem"), [(540, False), (600, False), (601, True)])
def test_an_event_must_not_outlive_its_token(age_s: int, is_problem: bool) -> None:
    """The event age is at most task_queued_timeout, the token's lifetime."""
    finding = diagnosis.event_age("f", replace(EVENTS, age_s=age_s), 600)
    assert finding.is_problem is is_problem


def test_one_route_of_dead_letters_is_enough() -> None:
    """The function's dead-letter queue or its on-failure destination must be the right queue."""

    def finding(queue_arn: str, destination_arn: str) -> Finding:
        function = replace(FUNCTION, dead_letter_arn=queue_arn)
        events = replace(EVENTS, destination_arn=destination_arn)
        return diagnosis.dead_letters("f", function, events, QUEUE)

    assert not finding("arn:other", "arn:dead").is_problem
    assert not finding("arn:dead", "arn:other").is_problem
    assert "go to arn:other and not to arn:dead" in finding("arn:other", "").detail
    assert "go nowhere" in finding("", "").detail


def test_a_queue_keeps_messages_longer_than_a_function_runs() -> None:
    """Otherwise the result of a long task is gone before it can be received."""
    assert not diagnosis.queue("results queue", "q", QUEUE, 900).is_problem
    assert diagnosis.queue("results queue", "q", replace(QUEUE, retention_s=900), 900).is_problem


def test_a_good_answer_is_good_throughout() -> None:
    """Equal versions and a reachable Execution API give only OK findings."""
    assert {finding.status for finding in probed().values()} == {Status.OK}


@pytest.mark.parametrize(
    ("changes", "subject", "status"),
    [
        ({"airflow": "3.3.9"}, "Airflow", Status.OK),
        ({"airflow": "3.2.2"}, "Airflow", Status.PROBLEM),
        ({"airflow": "3.30.0"}, "Airflow", Status.PROBLEM),
        ({"python": "3.11.7"}, "Python", Status.OK),
        ({"wire_version": WIRE_VERSION + 1}, "wire", Status.PROBLEM),
        ({"execution_api_error": "ConnectError"}, "Execution API", Status.PROBLEM),
    ],
)
def test_versions_are_compared(changes: dict[str, object], subject: str, status: Status) -> None:
    """Airflow's minor version and the wire version must match; Python's is only shown."""
    finding = probed(**changes)[subject]
    assert finding.status is status
    assert str(next(iter(changes.values()))) in finding.detail


@pytest.mark.parametrize(
    ("failure", "message", "status"),
    [
        # The reference's handler, and an older one of ours.
        ("AttributeError", "'list' object has no attribute 'get'", Status.UNKNOWN),
        ("DecodeError", "not an invocation, and without a usable task_key", Status.UNKNOWN),
        # The image does not even import.
        ("Runtime.ImportModuleError", "No module named 'airflow'", Status.PROBLEM),
        ("Sandbox.Timedout", "Task timed out after 3.00 seconds", Status.PROBLEM),
    ],
)
def test_no_answer_is_unknown_unless_the_handler_was_never_reached(
    failure: str, message: str, status: Status
) -> None:
    """A handler without probes may run workloads; one that cannot start does not."""
    (finding,) = diagnosis.probed("f", ProbeReply(b"{}", failure, message), HERE)
    assert finding.status is status
    assert message in finding.detail


def test_an_answer_of_something_else_is_unknown() -> None:
    """The reference's handler returns nothing from an invocation."""
    (finding,) = diagnosis.probed("f", ProbeReply(b"null"), HERE)
    assert (finding.subject, finding.status) == ("probe", Status.UNKNOWN)
