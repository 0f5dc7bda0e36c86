"""Asynchronous invocations on the embedded AWS behave like Lambda's."""

from __future__ import annotations

import itertools
import json
from pathlib import Path
from typing import Any

import pytest

from tests.support.local_aws import Function, Queue, Server, eventually


@pytest.fixture
def dead_letters(local_aws: Server) -> Queue:
    """A queue for dead letters."""
    return local_aws.queue()


@pytest.fixture
def function(local_aws: Server, dead_letters: Queue) -> Function:
    """A function with a dead-letter queue and no retries."""
    function = local_aws.function(Timeout=1, DeadLetterConfig={"TargetArn": dead_letters.arn})
    function.retry(0)
    return function


def read(path: Path, count: int) -> list[Any]:
    """The lines that handlers appended, once there are this many."""

    def enough() -> list[Any] | None:
        lines = path.read_text().splitlines() if path.exists() else []
        return [json.loads(line) for line in lines] if len(lines) >= count else None

    return eventually(enough)


def test_events_are_accepted_at_once_and_run_in_order(local_aws: Server, tmp_path: Path) -> None:
    """Events that wait for a free environment run in the order of their arrival."""
    function, record, gate = local_aws.function(), tmp_path / "record", tmp_path / "gate"
    function.reserve(1)
    for number in range(10):
        function.invoke_async({"n": number, "record": str(record), "wait_for": str(gate)})
    gate.touch()
    assert [line["event"]["n"] for line in read(record, 10)] == list(range(10))


def test_reserved_concurrency_is_used_and_never_exceeded(local_aws: Server, tmp_path: Path) -> None:
    """No more events run at once than the reserved concurrency."""
    function, entered = local_aws.function(), tmp_path / "entered"
    function.reserve(3)
    for _ in range(12):
        function.invoke_async({"enter": str(entered), "sleep_s": 0.05})
    assert max(itertools.accumulate(read(entered, 24))) == 3


def test_a_dead_letter_is_the_bare_event_with_the_reason(
    function: Function, dead_letters: Queue
) -> None:
    """The dead-letter queue gets the event itself, with id, code and message as attributes."""
    request_id = function.invoke_async({"raise": "broken"})
    assert dead_letters.receive() == {
        "body": {"raise": "broken"},
        "RequestID": request_id,
        "ErrorCode": "200",
        "ErrorMessage": "broken",
    }


def test_a_crash_leaves_a_dead_letter(function: Function, dead_letters: Queue) -> None:
    """The dead letter's message says that the handler's process was killed."""
    request_id = function.invoke_async({"exit": 1})
    assert (
        dead_letters.receive()["ErrorMessage"]
        == f"RequestId: {request_id} Error: Runtime exited with error: exit status 1"
    )


def test_a_time_out_leaves_a_dead_letter(function: Function, dead_letters: Queue) -> None:
    """The dead letter's message says that the handler timed out."""
    request_id = function.invoke_async({"sleep_s": 60})
    message = dead_letters.receive()["ErrorMessage"]
    assert message.endswith(f" {request_id} Task timed out after 1.00 seconds")


def test_an_event_is_tried_three_times_by_default(
    local_aws: Server, dead_letters: Queue, tmp_path: Path
) -> None:
    """Without a configuration a failed event has two retries, under the same request id."""
    function = local_aws.function(DeadLetterConfig={"TargetArn": dead_letters.arn})
    record = tmp_path / "record"
    request_id = function.invoke_async({"record": str(record), "raise": "no"})
    assert dead_letters.receive()["RequestID"] == request_id
    assert [line["request_id"] for line in read(record, 3)] == [request_id] * 3


def test_the_configuration_is_that_of_the_invoked_alias(
    function: Function, dead_letters: Queue, tmp_path: Path
) -> None:
    """Retries configured for an alias apply only to events sent to it."""
    name = {"FunctionName": function.name}
    version = function.client.publish_version(**name)["Version"]
    function.client.create_alias(**name, Name="live", FunctionVersion=version)
    function.retry(1, Qualifier="live")
    record = tmp_path / "record"
    function.invoke_async({"record": str(record), "raise": "no"}, Qualifier="live")
    dead_letters.receive()
    assert len(read(record, 2)) == 2


def test_a_paused_function_sends_events_to_the_dead_letter_queue(
    function: Function, dead_letters: Queue, tmp_path: Path
) -> None:
    """With a reserved concurrency of 0, no event runs and each becomes a dead letter."""
    record = tmp_path / "record"
    function.reserve(0)
    request_id = function.invoke_async({"record": str(record)})
    letter = dead_letters.receive()
    assert (letter["RequestID"], letter["ErrorCode"]) == (request_id, "429")
    assert not record.exists()


def test_an_event_that_is_too_old_does_not_start(
    local_aws: Server, dead_letters: Queue, tmp_path: Path
) -> None:
    """An event that waited longer than its maximum age becomes a dead letter and never runs."""
    function = local_aws.function(DeadLetterConfig={"TargetArn": dead_letters.arn})
    function.reserve(1)
    gate, record = tmp_path / "gate", tmp_path / "record"
    function.invoke_async({"wait_for": str(gate)})
    # AWS takes no less than a minute here; the embedded one does not mind.
    function.retry(0, MaximumEventAgeInSeconds=1)
    request_id = function.invoke_async({"record": str(record)})
    assert dead_letters.receive()["RequestID"] == request_id
    gate.touch()
    assert not record.exists()


def test_events_of_a_deleted_function_are_dropped(local_aws: Server, tmp_path: Path) -> None:
    """An event that waits when its function is deleted never runs."""
    function, other = local_aws.function(), local_aws.function()
    function.reserve(1)
    gate, record = tmp_path / "gate", tmp_path / "record"
    function.invoke_async({"wait_for": str(gate)})
    function.invoke_async({"record": str(record), "waited": True})
    function.client.delete_function(FunctionName=function.name)
    gate.touch()
    other.invoke_async({"record": str(record)})
    assert [line["event"] for line in read(record, 1)] == [{"record": str(record)}]


def test_an_on_failure_destination_gets_request_and_response(local_aws: Server) -> None:
    """The destination's record wraps the event and the error, with the number of tries."""
    function, destination = local_aws.function(), local_aws.queue()
    function.retry(0, DestinationConfig={"OnFailure": {"Destination": destination.arn}})
    request_id = function.invoke_async({"raise": "broken"})
    record = destination.receive()["body"]
    assert record["requestPayload"] == {"raise": "broken"}
    assert record["responsePayload"]["errorMessage"] == "broken"
    assert record["requestContext"]["requestId"] == request_id
    assert record["requestContext"]["condition"] == "RetriesExhausted"
    assert record["requestContext"]["approximateInvokeCount"] == 1


def test_an_on_success_destination_gets_the_response(local_aws: Server) -> None:
    """A success is recorded if a destination is configured for it."""
    function, destination = local_aws.function(), local_aws.queue()
    function.retry(0, DestinationConfig={"OnSuccess": {"Destination": destination.arn}})
    request_id = function.invoke_async({})
    record = destination.receive()["body"]
    assert record["requestContext"]["condition"] == "Success"
    assert record["responsePayload"]["request_id"] == request_id
