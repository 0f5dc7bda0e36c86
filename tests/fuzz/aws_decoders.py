"""The decoders of what AWS says: answers, errors, reasons, log lines."""

from __future__ import annotations

import functools
import io
import json
import math
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import boto3
from botocore.awsrequest import AWSResponse

from lambda_executor.aws import Clients, LogLine, Patience, job_ends, queues
from lambda_executor.aws.micro_vm_ids import MicroVmIds
from lambda_executor.contract.errors import AwsError
from lambda_executor.contract.wire import MAX_REASON_CHARS, InvocationId
from lambda_executor.ops.explain import log_story
from lambda_executor.scheduler.live_log import of_invocation, presented
from tests.fuzz.decoder import Decoder, dumped, text_of

ID = InvocationId("0d4b3a7e-6a63-4b45-8f3d-3d0a7c0d6f10")
_STARTED_AT = datetime(2026, 11, 21, 8, tzinfo=UTC)


class _Raw(io.BytesIO):
    """The body of an answer, as botocore reads it."""

    def stream(self, *_: object, **__: object) -> list[bytes]:
        """All of it at once."""
        return [self.read()]


class _Account:
    """Clients of botocore whose every call gets the same answer over HTTP."""

    def __init__(self) -> None:
        self.answer: tuple[int, bytes] = (200, b"{}")
        patience = Patience(connect_s=1, read_s=1, attempts=1)
        self.clients = Clients(
            self._session, patience=patience, region_name="eu-west-1", connections=1
        )

    def _session(self) -> Any:
        session = boto3.session.Session(
            aws_access_key_id="test", aws_secret_access_key="test", region_name="eu-west-1"
        )
        events: Any = session.events  # The stubs know no handler that answers.
        events.register("before-send", self._answered)
        return session

    def _answered(self, request: Any, **_: object) -> AWSResponse:
        status, body = self.answer
        headers: Any = {"content-length": str(len(body)), "content-type": "application/json"}
        raw: Any = _Raw(body)
        return AWSResponse(request.url, status, headers, raw)


@functools.cache
def _account() -> _Account:
    return _Account()


def _answer_to(call: Callable[[Clients], object]) -> Callable[[bytes], None]:
    """The status is the first line, the body the rest."""

    def read(data: bytes) -> None:
        status, _, body = data.partition(b"\n")
        account = _account()
        account.answer = (int(status) if status in _STATUSES else 500), body
        with account.clients.errors():
            call(account.clients)

    return read


_STATUSES = tuple(str(status).encode() for status in (200, 202, 301, 400, 403, 404, 429, 500, 503))


def _invoke(clients: Clients) -> None:
    clients.function.invoke(FunctionName="f", InvocationType="Event", Payload=b"{}")


def _receive(clients: Clients) -> None:
    clients.sqs.receive_message(QueueUrl="https://sqs.eu-west-1.amazonaws.com/1/q")


def _submit(clients: Clients) -> None:
    clients.batch.submit_job(jobName="a", jobQueue="q", jobDefinition="d")


def _put(clients: Clients) -> None:
    clients.s3.put_object(Bucket="bucket", Key="key", Body=b"{}")


def _micro_vm_id(data: bytes) -> None:
    """What the payload bucket holds as the id of a MicroVM, which any writer may have put there."""
    account = _account()
    account.answer = 200, data
    MicroVmIds(account.clients, "bucket").find(ID)


def _answer_date(data: bytes) -> None:
    """The time in the headers of an answer, as a proxy may have made it."""
    date_s = queues._date_s({"ResponseMetadata": {"HTTPHeaders": {"date": text_of(data)}}})
    assert date_s is None or math.isfinite(date_s)


def _job_end(data: bytes) -> None:
    """The end of a job in the words of Batch, ECS and Lambda."""
    said = text_of(data)
    container = {"name": "task", "exitCode": 137, "reason": said, "logStreamName": said}
    job_ends.of_batch_job(
        {"jobId": "1", "status": "FAILED", "statusReason": said, "container": container}
    )
    job_ends.of_ecs_task(
        {"taskArn": said, "stopCode": said, "stoppedReason": said, "containers": [container]}
    )
    job_ends.of_micro_vm(
        {
            "microvmId": said,
            "stateReason": said,
            "maximumDurationInSeconds": 3600,
            "startedAt": _STARTED_AT,
            "terminatedAt": _STARTED_AT + timedelta(seconds=len(said)),
        }
    )


def _live_log(data: bytes) -> None:
    """The lines of a stream are shown, each as JSON, and none with the dispatch id."""
    started = json.dumps({"event": "invocation started", "invocation_id": ID})
    lines = [LogLine("stream", 1, text) for text in (started, *text_of(data).split("\n"))]
    for line in of_invocation(ID, lines):
        shown = json.loads(presented(line))
        assert isinstance(shown, dict)
        assert "invocation_id" not in shown


def _log_story(data: bytes) -> None:
    """Any lines of a stream become facts of one line each, with a time."""
    started = json.dumps({"event": "invocation started", "invocation_id": ID, "request_id": "1"})
    lines = [LogLine("stream", 1, text) for text in (started, *text_of(data).split("\n"))]
    story = log_story.told(lines, ID, "", "function log")
    assert story.has_started
    for fact in story.facts:
        assert fact.at is not None
        assert fact.text.isprintable()
        assert len(fact.text) <= MAX_REASON_CHARS
    log_story.request_id_in(text_of(data))


_LINE = {"timestamp": "2026-11-21T08:00:00.123Z", "event": "x", "dag_id": "d", "request_id": "1"}
_XML = b"<Error><Code>NoSuchKey</Code><Message>no</Message></Error>"
_REFUSED = b'400\n{"__type": "com.amazonaws#ValidationException", "message": "no"}'
_RECEIVED = b'200\n{"Messages": [{"MessageId": "1", "ReceiptHandle": "r", "Body": "{}"}]}'

DECODERS = (
    Decoder("answer-lambda", _answer_to(_invoke), (AwsError,), (_REFUSED, b"202\n")),
    Decoder("answer-sqs", _answer_to(_receive), (AwsError,), (_REFUSED, _RECEIVED)),
    Decoder("answer-batch", _answer_to(_submit), (AwsError,), (_REFUSED, b"200\n{}")),
    Decoder("answer-s3", _answer_to(_put), (AwsError,), (b"404\n" + _XML, b"200\n")),
    Decoder("answer-date", _answer_date, (), (b"Mon, 30 Nov 2026 16:00:00 GMT",)),
    Decoder("micro-vm-id", _micro_vm_id, (AwsError,), (b"microvm-0123456789",)),
    Decoder(
        "job-end",
        _job_end,
        (),
        (b"OutOfMemoryError: Container killed", b"Container Stopped with Exit Code: 137"),
    ),
    Decoder(
        "live-log",
        _live_log,
        (),
        (
            b"\n".join(dumped(_LINE, {"event": "invocation settled", "invocation_id": ID})),
            b"text\nSTART RequestId: 1",
        ),
    ),
    Decoder(
        "log-story",
        _log_story,
        (),
        (
            b"\n".join(
                dumped(
                    {"event": "invocation settled", "invocation_id": ID, "run_ms": 1, "reason": "x"}
                )
            ),
            b"RequestId: 1 Error: Runtime exited\nREPORT RequestId: 1\tStatus: timeout",
            b"\n".join(dumped({"type": "platform.report", "record": {"requestId": "1"}})),
        ),
    ),
)
