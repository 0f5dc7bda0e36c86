"""The payload bucket as the handler uses it: moto's S3, and an S3 that fails."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import boto3
import pytest
from moto import mock_aws

from lambda_executor import aws
from lambda_executor.contract.errors import RejectedError
from lambda_executor.contract.options import PAYLOAD_BUCKET
from lambda_executor.contract.wire import (
    MAX_INVOCATION_BYTES,
    MAX_PAYLOAD_BYTES,
    Invocation,
    InvocationId,
    Outcome,
    PayloadPointer,
    payload_key,
)
from lambda_image.invocation.payloads import Payloads
from lambda_image.verdict import Verdict

BUCKET = "payloads"
TOKEN = "eyJhbGciOiJub25lIn0.c2VjcmV0.bm90LWEtdG9rZW4"
WHOLE = Invocation.for_workload(
    InvocationId("id-1"),
    json.dumps({"type": "ExecuteTask", "token": TOKEN}),
    executor_config={"notes": "x" * MAX_INVOCATION_BYTES},
)
BODY = WHOLE.encode(MAX_PAYLOAD_BYTES)
KEY = payload_key(WHOLE.id)
EVENT = WHOLE.pointing_to(PayloadPointer(BUCKET, KEY, len(BODY)))


def payloads() -> Payloads:
    """Make what the image makes, with the bucket that the stacks name."""
    return Payloads.from_environment({PAYLOAD_BUCKET.environment_variable: BUCKET})


def taken(event: Invocation) -> Invocation | Verdict:
    """Resolve an event in a function that has a minute left."""
    return payloads().resolve(event, lambda: time.monotonic() + 60)


def verdict_of(event: Invocation, source: Payloads | None = None) -> Verdict:
    """The verdict that is given in the place of a payload; it never tells what is in one."""
    verdict = (source or payloads()).resolve(event, lambda: time.monotonic() + 60)
    assert isinstance(verdict, Verdict), verdict
    assert TOKEN not in verdict.reason
    return verdict


@pytest.fixture
def bucket() -> Iterator[Any]:
    """An empty bucket in a well-behaved S3."""
    with mock_aws():
        s3 = boto3.client("s3", region_name="us-east-1")
        s3.create_bucket(Bucket=BUCKET)
        yield s3


def store() -> aws.S3Payloads:
    """The executor's side."""
    return aws.S3Payloads(aws.Clients(boto3.Session, region_name=None, connections=1), BUCKET)


def keys(s3: Any) -> list[str]:
    """List the objects in the bucket."""
    return [found["Key"] for found in s3.list_objects_v2(Bucket=BUCKET).get("Contents", [])]


def test_what_the_executor_puts_the_handler_takes(bucket: Any) -> None:
    """The complete invocation arrives, and its object is deleted."""
    store().put(KEY, b"an earlier try")
    store().put(KEY, BODY)
    assert keys(bucket) == [KEY]
    assert taken(EVENT) == WHOLE
    assert keys(bucket) == []


def test_a_bucket_that_is_gone_is_named_to_the_user() -> None:
    """The executor's error names the option, the bucket and AWS's own words."""
    with mock_aws(), pytest.raises(RejectedError, match=r"payload_bucket, 'payloads': .*Bucket"):
        store().put(KEY, BODY)


@pytest.mark.usefixtures("bucket")
def test_a_second_start_finds_nothing_and_settles_nothing() -> None:
    """Lambda may deliver an event twice: the start that took the payload is the one that counts."""
    store().put(KEY, BODY)
    taken(EVENT)
    verdict = verdict_of(EVENT)
    assert verdict.outcome is Outcome.DUPLICATE


def test_what_fits_into_an_event_needs_no_bucket() -> None:
    """Without a pointer the invocation is returned, and S3 is not called."""
    small = replace(WHOLE, executor_config={})
    assert Payloads.from_environment({}).resolve(small, by_s=lambda: 0) is small


@pytest.mark.parametrize("environment", [{}, {PAYLOAD_BUCKET.environment_variable: "another"}])
def test_only_the_functions_own_bucket_is_read(bucket: Any, environment: dict[str, str]) -> None:
    """An event cannot send the function anywhere else; the reason says what to set."""
    store().put(KEY, BODY)
    verdict = verdict_of(EVENT, Payloads.from_environment(environment))
    assert verdict.outcome is Outcome.REJECTED
    assert "is in the bucket 'payloads'" in verdict.reason
    assert f"set {PAYLOAD_BUCKET.environment_variable}" in verdict.reason
    assert keys(bucket) == [KEY]


@pytest.mark.usefixtures("bucket")
@pytest.mark.parametrize(
    ("body", "says"),
    [
        (b"\xff\x00", "not JSON"),
        (b"[" * 100_000, "not JSON"),
        (b"[]", "not an invocation"),
        (EVENT.encode(), "not the one of this invocation"),
        (replace(WHOLE, id=InvocationId("id-2")).encode(MAX_PAYLOAD_BYTES), "not the one of this"),
    ],
)
def test_a_payload_that_is_something_else_is_rejected(body: bytes, says: str) -> None:
    """A payload that is not this invocation is not run."""
    store().put(KEY, body)
    verdict = verdict_of(WHOLE.pointing_to(PayloadPointer(BUCKET, KEY, len(body))))
    assert verdict.outcome is Outcome.REJECTED
    assert says in verdict.reason


@pytest.mark.usefixtures("bucket")
def test_a_payload_of_another_size_is_not_read() -> None:
    """Only the number of bytes that the event names is read."""
    store().put(KEY, BODY + b" ")
    verdict = verdict_of(EVENT)
    assert verdict.outcome is Outcome.REJECTED
    assert f"it is {len(BODY) + 1} bytes, the event says {len(BODY)}" in verdict.reason


def test_a_bucket_that_is_gone_is_no_second_start() -> None:
    """A bucket that does not exist fails the workload, instead of leaving it unsettled."""
    with mock_aws():
        assert verdict_of(EVENT).outcome is Outcome.REJECTED


@dataclass
class UnwellS3:
    """An S3 with one object, which may be denied, or come late or in part.

    Attributes:
        denied: The methods that are refused.
        broken: How many answers to GET break off half-way.
        down: How many requests are answered with "try again".
        silent_on: The method that is never answered.
        requests: The methods of all requests, in order.
    """

    denied: frozenset[str] = frozenset()
    broken: int = 0
    down: int = 0
    silent_on: str | None = None
    requests: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        world = self
        self._closed = threading.Event()

        class Handler(BaseHTTPRequestHandler):
            def log_message(self, *_: Any) -> None:
                pass

            def do_GET(self) -> None:
                world.requests.append(self.command)
                if self.command == world.silent_on:
                    world._closed.wait()
                elif len(world.requests) <= world.down:
                    self._answer(503, b"<Error><Code>SlowDown</Code></Error>")
                elif self.command in world.denied:
                    self._answer(403, b"<Error><Code>AccessDenied</Code></Error>")
                elif self.command == "DELETE":
                    self._answer(204, b"")
                else:
                    half = world.requests.count("GET") <= world.broken
                    self._answer(200, BODY, sent=len(BODY) // 2 if half else len(BODY))

            do_DELETE = do_GET  # noqa: N815 - http.server's name

            def _answer(self, status: int, body: bytes, sent: int | None = None) -> None:
                self.send_response(status)
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body[:sent])

        self._http = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self._http.server_port}"
        threading.Thread(target=self._http.serve_forever, args=(0.01,), daemon=True).start()

    def close(self) -> None:
        """Stop answering."""
        self._closed.set()
        self._http.shutdown()
        self._http.server_close()


@pytest.fixture
def unwell(monkeypatch: pytest.MonkeyPatch) -> Iterator[UnwellS3]:
    """An S3 that does as told."""
    s3 = UnwellS3()
    monkeypatch.setenv("AWS_ENDPOINT_URL", s3.url)
    monkeypatch.setattr("time.sleep", lambda _seconds: None)  # between botocore's attempts
    yield s3
    s3.close()


def test_an_s3_that_recovers_costs_no_workload(unwell: UnwellS3) -> None:
    """Two temporary errors are retried."""
    unwell.down = 2
    assert taken(EVENT) == WHOLE
    assert unwell.requests == ["GET", "GET", "GET", "DELETE"]


def test_an_s3_that_stays_down_is_an_error(unwell: UnwellS3) -> None:
    """Nothing is started, the reason has S3's error, and the object is still there."""
    unwell.down = 1000
    verdict = verdict_of(EVENT)
    assert verdict.outcome is Outcome.REJECTED
    assert "SlowDown" in verdict.reason
    assert unwell.requests == ["GET", "GET", "GET"]


def test_an_answer_that_breaks_off_is_asked_for_again(unwell: UnwellS3) -> None:
    """A broken connection is retried."""
    unwell.broken = 2
    assert taken(EVENT) == WHOLE
    assert unwell.requests == ["GET", "GET", "GET", "DELETE"]


def test_answers_that_always_break_off_are_an_error(unwell: UnwellS3) -> None:
    """The attempts are bounded, and the object stays for inspection."""
    unwell.broken = 1000
    assert verdict_of(EVENT).outcome is Outcome.REJECTED
    assert unwell.requests == ["GET", "GET", "GET"]


@pytest.mark.parametrize(("left_s", "most_s"), [(0.2, 30), (60, 0.2)])
def test_a_fetch_ends_in_time(
    unwell: UnwellS3, monkeypatch: pytest.MonkeyPatch, left_s: float, most_s: float
) -> None:
    """A slow S3 leaves the function time to report it."""
    verdict, took_s = taken_from_silence(unwell, monkeypatch, "GET", left_s, most_s)
    assert took_s < 2
    assert isinstance(verdict, Verdict)
    assert verdict.outcome is Outcome.REJECTED
    assert "S3 did not answer within 0.2 s" in verdict.reason


def test_a_deletion_ends_in_time(unwell: UnwellS3, monkeypatch: pytest.MonkeyPatch) -> None:
    """The workload runs without the deletion; the object expires."""
    resolved, took_s = taken_from_silence(unwell, monkeypatch, "DELETE", left_s=60, most_s=0.5)
    assert took_s < 2
    assert resolved == WHOLE


def taken_from_silence(
    s3: UnwellS3, monkeypatch: pytest.MonkeyPatch, method: str, left_s: float, most_s: float
) -> tuple[Invocation | Verdict, float]:
    """Resolve an event while a method gets no answer; returns the seconds too."""
    monkeypatch.setattr("lambda_image.invocation.payloads.FETCH_TIMEOUT_S", most_s)
    s3.silent_on = method
    client = boto3.client("s3")
    began_s = time.monotonic()
    resolved = Payloads(BUCKET, lambda: client).resolve(EVENT, lambda: began_s + left_s)
    return resolved, time.monotonic() - began_s


def test_denied_for_an_object_that_is_not_there_means_taken(unwell: UnwellS3) -> None:
    """Without permission to list, S3 denies access to a missing object."""
    unwell.denied = frozenset({"GET"})
    assert verdict_of(EVENT).outcome is Outcome.DUPLICATE


def test_denied_for_everything_means_denied(unwell: UnwellS3) -> None:
    """A role without permissions fails the workload with S3's error."""
    unwell.denied = frozenset({"GET", "DELETE"})
    verdict = verdict_of(EVENT)
    assert verdict.outcome is Outcome.REJECTED
    assert "AccessDenied" in verdict.reason


def test_what_may_not_be_deleted_is_run_all_the_same(unwell: UnwellS3) -> None:
    """The workload runs, and the object expires."""
    unwell.denied = frozenset({"DELETE"})
    assert taken(EVENT) == WHOLE
