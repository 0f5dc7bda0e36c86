"""The wire is what it was: today's code reads every golden file and writes the newest alike.

A difference here breaks environments whose image and scheduler are not upgraded together. A new
wire version gets new files; files of old versions are never edited.
"""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest

from lambda_executor.contract.micro_vm import MOST_CHARACTERS, RunPayload, time_for_workload_s
from lambda_executor.contract.wire import (
    DeadLetter,
    Invocation,
    InvocationId,
    Outcome,
    PayloadPointer,
    Result,
    payload_key,
)

GOLDEN = Path(__file__).parents[1] / "golden"
ID = InvocationId("0198c9d2-7d0e-7a53-9f6e-3f5d0c1b2a49")
INVOCATION = Invocation.for_workload(
    ID,
    '{"type":"ExecuteTask"}',
    executor_config={"memory": "large"},
    reply_to="https://sqs.eu-west-1.amazonaws.com/123456789012/results",
    queued_at_s=1764000000.25,
    not_after_s=1764000600.0,
)
POINTER = INVOCATION.pointing_to(
    PayloadPointer("airflow-lambda-dev-payloads", payload_key(ID), 2097152)
)
RESULT = Result(
    id=ID,
    return_code=-9,
    outcome=Outcome.CRASHED,
    reason="signal: killed",
    request_id="5f6e0d7a-0c62-4f6a-9b57-2b0f6f5d9c11",
    log_stream="2026/11/21/[1]0123456789abcdef",
    cold=True,
    init_ms=1800.5,
    run_ms=52.25,
    started_at_s=1764000001.5,
)
COMPLETE_RESULT = replace(RESULT, queue_to_start_ms=1250.5, max_memory_mb=183.5)
DEFERRED_RESULT = replace(
    RESULT, return_code=0, outcome=Outcome.COMPLETED, reason="", task_state="deferred"
)
RESTORED_RESULT = replace(RESULT, log_stream=None, init_ms=None, restore_ms=21.5)


def golden(name: str) -> str:
    """The text of a golden file."""
    return (GOLDEN / name).read_text().strip()


def test_an_invocation_is_written_as_ever() -> None:
    """Byte for byte what version 1 is."""
    assert INVOCATION.encode().decode() == golden("invocation-1.json")


def test_a_pointer_is_written_as_ever() -> None:
    """Byte for byte what version 1 is; `command` is for a handler without pointers."""
    assert POINTER.encode().decode() == golden("invocation-pointer-1.json")


def test_the_payload_of_a_micro_vms_run_is_written_and_read_as_ever() -> None:
    """Byte for byte: the image's version is older than the scheduler's, until both are deployed."""
    payload = RunPayload(json.loads(POINTER.encode()), time_for_workload_s(28800))
    text = golden("run-hook-payload-1.json")
    assert payload.encode() == text
    assert RunPayload.decode(text) == payload
    assert len(text) < MOST_CHARACTERS


def test_a_result_is_written_as_ever() -> None:
    """Byte for byte what version 1 is."""
    assert RESULT.encode() == golden("result-1.json")
    assert COMPLETE_RESULT.encode() == golden("result-complete-1.json")
    assert DEFERRED_RESULT.encode() == golden("result-deferred-1.json")
    assert RESTORED_RESULT.encode() == golden("result-restored-1.json")


def test_an_invocation_of_version_1_is_read() -> None:
    """Today's handler reads an invocation of an older executor."""
    assert Invocation.decode(json.loads(golden("invocation-1.json"))) == INVOCATION


def test_a_pointer_of_version_1_is_read() -> None:
    """Today's handler reads an invocation of an older executor."""
    assert Invocation.decode(json.loads(golden("invocation-pointer-1.json"))) == POINTER


def test_a_result_of_version_1_is_read() -> None:
    """Today's executor reads a result of an older handler."""
    assert Result.decode(golden("result-1.json")) == RESULT
    assert Result.decode(golden("result-complete-1.json")) == COMPLETE_RESULT
    assert Result.decode(golden("result-restored-1.json")) == RESTORED_RESULT
    assert Result.decode(golden("result-deferred-1.json")) == DEFERRED_RESULT


@pytest.mark.parametrize("name", ["dead-letter-queue.json", "dead-letter-destination.json"])
def test_lambdas_dead_letters_are_read(name: str) -> None:
    """Both formats, as AWS documents them, give the id, the reason and the request id."""
    message = json.loads(golden(name))
    letter = DeadLetter.decode(json.dumps(message["body"]), message["attributes"])
    assert letter.id == ID
    assert "Task timed out after 900.00 seconds" in letter.reason
    assert letter.request_id == RESULT.request_id


def test_the_references_messages_are_read() -> None:
    """Our handler reads its invocation, and our executor reads its handler's result."""
    invocation = Invocation.decode(json.loads(golden("reference-invocation.json")))
    result = Result.decode(golden("reference-result.json"))
    assert invocation.id == result.id
    assert json.loads(invocation.workload_json)["type"] == "ExecuteTask"
    assert (result.return_code, result.outcome) == (0, Outcome.COMPLETED)
