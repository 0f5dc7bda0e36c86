"""Valid messages survive encoding and decoding; everything else is refused."""

from __future__ import annotations

import contextlib
import json
import string
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lambda_executor.contract.errors import DecodeError, EncodeError
from lambda_executor.contract.visible import one_line
from lambda_executor.contract.wire import (
    MAX_INVOCATION_BYTES,
    MAX_PAYLOAD_BYTES,
    MAX_REASON_CHARS,
    DeadLetter,
    Invocation,
    InvocationId,
    Outcome,
    PayloadPointer,
    Result,
    payload_key,
)

# For people: what no database keeps, and no log should, is replaced on the way in.
texts = st.text(max_size=100).map(one_line)
ids = st.text(min_size=1, max_size=100).map(InvocationId)
json_values: st.SearchStrategy[Any] = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    max_leaves=20,
)
invocations = st.builds(
    Invocation.for_workload,
    ids,
    st.text(),
    executor_config=st.dictionaries(st.text(), json_values, max_size=3),
    reply_to=st.none() | st.text(),
    queued_at_s=st.none() | st.floats(0, 1e11),
    not_after_s=st.none() | st.floats(0, 1e11),
)
results = st.builds(
    Result,
    id=ids,
    return_code=st.integers(-64, 255),
    outcome=st.sampled_from(Outcome),
    reason=texts,
    request_id=st.none() | texts,
    log_stream=st.none() | texts,
    cold=st.none() | st.booleans(),
    init_ms=st.none() | st.floats(0, 1e6),
    run_ms=st.none() | st.floats(0, 1e6),
    started_at_s=st.none() | st.floats(0, 1e11),
    queue_to_start_ms=st.none() | st.floats(0, 1e9),
)


@given(invocations)
def test_an_invocation_survives_encoding_and_decoding(invocation: Invocation) -> None:
    """The handler decodes the invocation that the executor encoded."""
    assert Invocation.decode(json.loads(invocation.encode())) == invocation


@given(invocations, st.text(min_size=1), st.integers(0, MAX_PAYLOAD_BYTES))
def test_a_pointer_survives_encoding_and_decoding(
    invocation: Invocation, bucket: str, size_bytes: int
) -> None:
    """A pointer keeps every field of the invocation that is not in S3."""
    pointer = PayloadPointer(bucket, payload_key(invocation.id), size_bytes)
    event = Invocation.decode(json.loads(invocation.pointing_to(pointer).encode()))
    assert event.payload == pointer
    assert (event.id, event.reply_to) == (invocation.id, invocation.reply_to)
    with pytest.raises(DecodeError, match="does not carry a workload"):
        _ = event.workload_json


@pytest.mark.parametrize(
    "wrong",
    [
        "s3://bucket/key",
        {"key": payload_key(InvocationId("a")), "size_bytes": 1},
        {"bucket": "", "key": payload_key(InvocationId("a")), "size_bytes": 1},
        {"bucket": "b", "key": payload_key(InvocationId("another")), "size_bytes": 1},
        {"bucket": "b", "key": "invocations/../x", "size_bytes": 1},
        {"bucket": "b", "key": payload_key(InvocationId("a")), "size_bytes": "1"},
        {"bucket": "b", "key": payload_key(InvocationId("a")), "size_bytes": True},
        {"bucket": "b", "key": payload_key(InvocationId("a")), "size_bytes": -1},
        {"bucket": "b", "key": payload_key(InvocationId("a")), "size_bytes": 6291457},
    ],
)
def test_a_pointer_leads_to_nothing_but_its_own_invocation(wrong: object) -> None:
    """Another invocation's key, a size over the limit or any other shape is refused."""
    with pytest.raises(DecodeError, match="payload"):
        Invocation.decode({"task_key": "a", "command": ["x"], "payload": wrong})


@given(results)
def test_a_result_survives_encoding_and_decoding(result: Result) -> None:
    """The executor decodes the result that the handler encoded."""
    assert Result.decode(result.encode()) == result


@given(st.text())
def test_a_text_is_one_line(text: str) -> None:
    """Of printable characters, whatever somebody sends: it goes into logs and to terminals."""
    message = json.dumps({"task_key": "a", "return_code": 1, "reason": text})
    reason = Result.decode(message).reason
    assert reason == one_line(text)
    assert not reason or reason.isprintable()


@given(json_values | st.binary().map(lambda b: b.decode("latin-1")))
def test_every_shape_is_decoded_or_refused(value: Any) -> None:
    """Any JSON in any field gives a value or a DecodeError, never another exception."""
    for body in (json.dumps(value), value if isinstance(value, str) else "", "[" * 100_000):
        for decode in (Result.decode, DeadLetter.decode):
            with contextlib.suppress(DecodeError):
                decode(body)
    for event in (value, {"task_key": "a\ud800", "command": ["x"], "payload": value}):
        with contextlib.suppress(DecodeError):
            Invocation.decode(event)


@given(st.dictionaries(st.sampled_from(["task_key", "return_code", "outcome", "x"]), json_values))
def test_a_near_miss_is_decoded_or_refused(message: dict[str, Any]) -> None:
    """Objects with the right keys and wrong values give a Result or a DecodeError."""
    try:
        result = Result.decode(json.dumps(message))
    except DecodeError:
        return
    assert result.id == message["task_key"]
    assert result.return_code == message["return_code"]


def test_the_reference_handlers_result_is_understood() -> None:
    """A result with nothing but task_key and return_code is complete."""
    result = Result.decode('{"task_key": "{\\"dag_id\\": \\"d\\"}", "return_code": 1}')
    assert (result.id, result.return_code) == ('{"dag_id": "d"}', 1)
    assert result.outcome is Outcome.COMPLETED


def test_unknown_keys_and_outcomes_are_ignored() -> None:
    """A newer handler's result settles with its return code."""
    result = Result.decode('{"task_key": "a", "return_code": 0, "outcome": "new", "more": [1]}')
    assert result == Result(id=InvocationId("a"), return_code=0)


def test_a_fact_of_a_wrong_type_does_not_hold_a_result_back() -> None:
    """Unreadable informative fields are dropped; the task is settled."""
    body = {"task_key": "a", "return_code": 0, "reason": 5, "run_ms": "x", "cold": "y"}
    result = Result.decode(json.dumps(body))
    assert (result.reason, result.run_ms, result.cold) == ("", None, None)


@pytest.mark.parametrize("version", [2, 0, "1", None, True, [1]])
def test_an_unknown_wire_version_is_refused_by_name(version: object) -> None:
    """The error names the received version and the handler's own."""
    with pytest.raises(DecodeError, match="this side speaks 1"):
        Invocation.decode({"task_key": "a", "command": ["x"], "wire_version": version})


def test_the_largest_invocation_fits_into_a_dead_letter() -> None:
    """SQS counts the attributes that Lambda adds to a dead letter, with their names and types.

    https://docs.aws.amazon.com/lambda/latest/dg/invocation-async-retain-records.html
    https://docs.aws.amazon.com/AWSSimpleQueueService/latest/SQSDeveloperGuide/quotas-messages.html
    """
    attributes = {
        ("RequestID", "String"): 36,
        ("ErrorCode", "Number"): 3,
        ("ErrorMessage", "String"): 1024,
    }
    added = sum(len(name) + len(kind) + size for (name, kind), size in attributes.items())
    assert MAX_INVOCATION_BYTES + added <= 1024 * 1024


def test_a_payload_over_lambdas_limit_is_refused_before_it_is_sent() -> None:
    """The error names the size, the limit and the fix."""
    invocation = Invocation.for_workload(InvocationId("a"), "x" * MAX_INVOCATION_BYTES)
    with pytest.raises(EncodeError, match=f"most {MAX_INVOCATION_BYTES}: make executor_config"):
        invocation.encode()


@pytest.mark.parametrize("value", [object(), float("nan"), {1, 2}])
def test_an_executor_config_that_is_no_json_is_refused(value: object) -> None:
    """The error names executor_config and the allowed types."""
    invocation = Invocation.for_workload(InvocationId("a"), "{}", executor_config={"x": value})
    with pytest.raises(EncodeError, match="executor_config cannot travel as JSON"):
        invocation.encode()


def test_the_workload_is_found_in_the_references_argv() -> None:
    """A command in the reference's form carries its workload last; another carries none."""
    assert Invocation.for_workload(InvocationId("a"), '{"t": 1}').workload_json == '{"t": 1}'
    with pytest.raises(DecodeError, match="does not carry a workload"):
        Invocation(InvocationId("a"), ("airflow", "tasks", "run")).workload_json  # noqa: B018


def test_a_long_reason_is_cut() -> None:
    """A result fits a queue message, whatever a task printed."""
    encoded = Result(InvocationId("a"), 1, reason=string.ascii_letters * 10_000).encode()
    assert len(Result.decode(encoded).reason) == MAX_REASON_CHARS


def test_a_workload_stays_out_of_every_repr() -> None:
    """A log line of an invocation shows its id and no token."""
    invocation = Invocation.for_workload(
        InvocationId("a"), '{"token": "secret"}', executor_config={"password": "secret"}
    )
    assert "secret" not in repr(invocation)
    with pytest.raises(DecodeError) as caught:
        Result.decode("not JSON: secret")
    assert "secret" not in str(caught.value)


class TestDeadLetter:
    """Lambda's two formats."""

    def test_the_queues_format_gives_lambdas_reason(self) -> None:
        """The reason and the request id are the message's attributes."""
        letter = DeadLetter.decode(
            '{"task_key": "a", "command": ["x"]}',
            {"RequestID": "r", "ErrorCode": "200", "ErrorMessage": "Task timed out"},
        )
        assert letter == DeadLetter(InvocationId("a"), "Task timed out", "r")

    def test_the_destinations_format_gives_lambdas_reason(self) -> None:
        """The reason is the response's error message."""
        envelope = {
            "requestContext": {"requestId": "r", "condition": "RetriesExhausted"},
            "requestPayload": {"task_key": "a"},
            "responsePayload": {"errorMessage": "signal: killed"},
        }
        letter = DeadLetter.decode(json.dumps(envelope))
        assert letter == DeadLetter(InvocationId("a"), "signal: killed", "r")

    def test_an_expired_event_has_no_response(self) -> None:
        """Without a response the condition is the reason."""
        envelope = {
            "requestContext": {"requestId": "r", "condition": "EventAgeExceeded"},
            "requestPayload": {"task_key": "a"},
        }
        assert DeadLetter.decode(json.dumps(envelope)).reason == "EventAgeExceeded"
