"""Faults on demand, as clients of the embedded AWS meet them."""

from __future__ import annotations

import contextlib
import re
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from botocore.exceptions import ClientError, ConnectionClosedError

from tests.support.local_aws import (
    Function,
    Queue,
    Server,
    client,
    eventually,
    inject,
    injected,
)

Inject = Callable[..., None]

#: A call of each service, which succeeds or fails without faults.
CALLS: dict[str, Callable[[Server], Any]] = {
    "batch:SubmitJob": lambda server: server.client("batch").submit_job(
        jobName="j", jobQueue="fault-queue", jobDefinition="d"
    ),
    "cloudwatch:PutMetricData": lambda server: server.client("cloudwatch").put_metric_data(
        Namespace="n", MetricData=[{"MetricName": "m", "Value": 1}]
    ),
    "ecs:RunTask": lambda server: server.client("ecs").run_task(
        cluster="c", taskDefinition="fault-definition"
    ),
    "lambda:Invoke": lambda server: server.client("lambda").invoke(FunctionName="fault-function"),
    "lambda:RunMicrovm": lambda server: server.client("lambda-microvms").run_microvm(
        imageIdentifier="arn:aws:lambda:us-east-1:000000000000:microvm-image:fault-image"
    ),
    "logs:DescribeLogGroups": lambda server: server.client("logs").describe_log_groups(),
    "s3:PutObject": lambda server: server.client("s3").put_object(
        Bucket="fault-bucket", Key="k", Body=b"x"
    ),
    "secretsmanager:GetSecretValue": lambda server: server.client(
        "secretsmanager"
    ).get_secret_value(SecretId="fault-secret"),
    "sqs:ListQueues": lambda server: server.client("sqs").list_queues(),
    "ssm:GetParameter": lambda server: server.client("ssm").get_parameter(Name="/fault"),
    "sts:GetCallerIdentity": lambda server: server.client("sts").get_caller_identity(),
}
ERRORS = [
    ("batch:SubmitJob", "throttle", "TooManyRequestsException", 429),
    ("cloudwatch:PutMetricData", "throttle", "Throttling", 400),
    ("ecs:RunTask", "throttle", "ThrottlingException", 400),
    ("lambda:Invoke", "throttle", "TooManyRequestsException", 429),
    ("lambda:RunMicrovm", "throttle", "ThrottlingException", 429),
    ("logs:DescribeLogGroups", "throttle", "ThrottlingException", 400),
    ("s3:PutObject", "throttle", "SlowDown", 503),
    ("secretsmanager:GetSecretValue", "throttle", "ThrottlingException", 400),
    ("sqs:ListQueues", "throttle", "RequestThrottled", 400),
    ("ssm:GetParameter", "throttle", "ThrottlingException", 400),
    ("sts:GetCallerIdentity", "throttle", "Throttling", 400),
    ("batch:SubmitJob", "error", "ServerException", 500),
    ("lambda:Invoke", "error", "ServiceException", 500),
    ("s3:PutObject", "error", "InternalError", 500),
    ("sqs:ListQueues", "error", "ServiceUnavailable", 503),
    ("batch:SubmitJob", "denied", "AccessDeniedException", 403),
    ("lambda:Invoke", "denied", "AccessDeniedException", 403),
    ("logs:DescribeLogGroups", "denied", "AccessDeniedException", 400),
    ("s3:PutObject", "denied", "AccessDenied", 403),
    ("sqs:ListQueues", "denied", "AccessDenied", 403),
    ("ecs:RunTask", "expired", "ExpiredTokenException", 400),
    ("lambda:Invoke", "expired", "ExpiredTokenException", 403),
    ("s3:PutObject", "expired", "ExpiredToken", 400),
    ("sqs:ListQueues", "expired", "ExpiredToken", 403),
]


#: A call of a protocol of JSON, as its header names it.
RUN_TASK = "AmazonEC2ContainerServiceV20141113.RunTask"


@pytest.fixture
def server(local_aws: Server) -> Iterator[Server]:
    """The embedded AWS, in which nothing goes wrong after the test."""
    yield local_aws
    inject(local_aws)


@pytest.fixture
def queue(server: Server) -> Queue:
    """A queue, whose name rules can name."""
    return server.queue()


def rule(api: str, fault: str, **more: Any) -> dict[str, Any]:
    """A rule named `rule` that hits every call of an API."""
    return {"name": "rule", "api": api, "fault": fault, "share": 1, **more}


def of(queue: Queue | Function) -> dict[str, str]:
    """The part of a rule that names a queue or a function."""
    return {"queue": queue.name if isinstance(queue, Function) else queue.arn.rpartition(":")[2]}


def send(queue: Queue, body: str = "0123456789") -> str:
    """Send a message; its id, if the answer is that of a success."""
    answer = queue.server.client("sqs").send_message(QueueUrl=queue.url, MessageBody=body)
    return str(answer["MessageId"])


def received(queue: Queue) -> list[tuple[str, str]]:
    """Id and body of the messages that can be received at once; they stay."""
    answer = queue.server.client("sqs").receive_message(
        QueueUrl=queue.url, MaxNumberOfMessages=10, VisibilityTimeout=0
    )
    return [(message["MessageId"], message["Body"]) for message in answer.get("Messages", [])]


@pytest.mark.parametrize(("api", "fault", "code", "status"), ERRORS)
def test_each_service_answers_errors_of_its_own(
    server: Server, api: str, fault: str, code: str, status: int
) -> None:
    """Code and status are those that a client of the service knows."""
    inject(server, rule(api, fault))
    with pytest.raises(ClientError) as failed:
        CALLS[api](server)
    assert failed.value.response["Error"]["Code"] == code
    assert failed.value.response["ResponseMetadata"]["HTTPStatusCode"] == status
    assert injected(server) == {"rule": (1, 1)}


@pytest.mark.parametrize("api", sorted(CALLS))
def test_a_rule_for_another_operation_leaves_a_call_alone(server: Server, api: str) -> None:
    """And so does one for another target."""
    service = api.partition(":")[0]
    elsewhere = {"name": "elsewhere", "queue": "of-somebody-else"}
    inject(server, rule(f"{service}:Other", "reset"), rule(f"{service}:*", "reset") | elsewhere)
    with contextlib.suppress(ClientError):  # What it names does not exist.
        CALLS[api](server)
    assert injected(server) == {"rule": (0, 0), "elsewhere": (0, 0)}


@pytest.mark.parametrize(
    ("api", "target"),
    [
        ("batch:SubmitJob", "fault-queue"),
        ("ecs:RunTask", "fault-definition"),
        ("lambda:Invoke", "fault-function"),
        ("lambda:RunMicrovm", "fault-image"),
        ("s3:PutObject", "fault-bucket"),
        ("secretsmanager:GetSecretValue", "fault-secret"),
        ("ssm:GetParameter", "/fault"),
    ],
)
def test_a_rule_may_name_a_target(server: Server, api: str, target: str) -> None:
    """A queue of jobs, a definition, a function, an image, a bucket and so on."""
    inject(server, rule(api, "throttle", queue=target))
    with pytest.raises(ClientError):
        CALLS[api](server)
    assert injected(server) == {"rule": (1, 1)}


def test_a_rule_may_name_the_caller(server: Server) -> None:
    """By a part of the name of the role, or `root`."""
    role = server.client("iam").create_role(RoleName="a-worker", AssumeRolePolicyDocument="{}")
    session = server.client("sts").assume_role(
        RoleArn=role["Role"]["Arn"], RoleSessionName="session"
    )["Credentials"]
    keys = (session["AccessKeyId"], session["SecretAccessKey"], session["SessionToken"])
    worker = client("sts", server.url, *keys)
    inject(server, rule("sts:*", "throttle", by="worker"))
    server.client("sts").get_caller_identity()
    with pytest.raises(ClientError):
        worker.get_caller_identity()
    inject(server, rule("sts:*", "throttle", by="root"))
    worker.get_caller_identity()
    with pytest.raises(ClientError):
        server.client("sts").get_caller_identity()


@pytest.mark.parametrize(
    ("fault", "delay_s", "done"), [("reset", 0, 0), ("lost_answer", 0, 1), ("hang", 0.1, 0)]
)
def test_a_connection_ends_without_an_answer(
    queue: Queue, fault: str, delay_s: float, done: int
) -> None:
    """Whether the call was made, a client cannot see."""
    inject(queue.server, rule("sqs:SendMessage", fault, delay_s=delay_s, **of(queue)))
    began_s = time.monotonic()
    with pytest.raises(ConnectionClosedError):
        send(queue)
    assert time.monotonic() - began_s >= delay_s
    assert len(received(queue)) == done


def test_a_call_after_a_lost_connection_is_answered(queue: Queue) -> None:
    """Only the connection of that one request has ended."""
    inject(queue.server, rule("sqs:SendMessage", "reset", limit=1, **of(queue)))
    with pytest.raises(ConnectionClosedError):
        send(queue)
    assert received(queue) == []
    sent = send(queue)
    assert received(queue) == [(sent, "0123456789")]


def test_a_slow_answer_is_that_of_a_call_that_was_made(queue: Queue) -> None:
    """The call is made at once, and answered later."""
    inject(queue.server, rule("sqs:SendMessage", "delay", delay_s=0.2, **of(queue)))
    began_s = time.monotonic()
    sent = send(queue)
    assert time.monotonic() - began_s >= 0.2
    assert received(queue) == [(sent, "0123456789")]


@pytest.mark.parametrize(
    ("fault", "stored"),
    [
        ("lost", []),
        ("duplicated", ["0123456789"] * 2),
        ("delayed", []),
        ("malformed", ["01234"]),
    ],
)
def test_a_message_is_not_what_its_sender_believes(
    queue: Queue, fault: str, stored: list[str]
) -> None:
    """The sender sees a success in all cases, also for the entries of a batch."""
    delay = {"delay_s": 600} if fault == "delayed" else {}
    inject(queue.server, rule("sqs:SendMessage", fault, **delay, **of(queue)))
    assert received(queue) == []
    sent = send(queue)
    assert received(queue) == [(sent, body) for body in stored]
    answer = queue.server.client("sqs").send_message_batch(
        QueueUrl=queue.url, Entries=[{"Id": n, "MessageBody": "0123456789"} for n in "ab"]
    )
    assert [entry["Id"] for entry in answer["Successful"]] == ["a", "b"]
    ids = [sent, *(entry["MessageId"] for entry in answer["Successful"])]
    assert sorted(received(queue)) == sorted((each, body) for each in ids for body in stored)
    assert injected(queue.server) == {"rule": (3, 3)}


def test_a_delayed_message_arrives(queue: Queue) -> None:
    """After its delay, so that what is sent meanwhile overtakes it."""
    inject(queue.server, rule("sqs:SendMessage", "delayed", delay_s=0.2, **of(queue)))
    began_s = time.monotonic()
    sent = send(queue)
    assert eventually(lambda: received(queue) or None) == [(sent, "0123456789")]
    assert time.monotonic() - began_s >= 0.2


def test_a_received_message_comes_again(queue: Queue) -> None:
    """Even if it was deleted at once."""
    inject(queue.server, rule("sqs:ReceiveMessage", "redelivered", limit=1, **of(queue)))
    sent, sqs = send(queue), queue.server.client("sqs")
    for _ in range(2):
        (message,) = sqs.receive_message(QueueUrl=queue.url)["Messages"]
        assert message["MessageId"] == sent
        sqs.delete_message(QueueUrl=queue.url, ReceiptHandle=message["ReceiptHandle"])
    assert received(queue) == []
    assert injected(queue.server) == {"rule": (2, 1)}


@pytest.mark.parametrize("delay_s", [0, 0.1])
def test_an_event_is_delivered_twice(server: Server, tmp_path: Path, delay_s: float) -> None:
    """With one request id, at once or later."""
    function, record = server.function(), tmp_path / "record"
    inject(server, rule("lambda:Invoke", "duplicated", delay_s=delay_s, by="root", **of(function)))
    request_id = function.invoke_async({"record": str(record)})

    def both() -> list[str] | None:
        lines = record.read_text().splitlines() if record.exists() else []
        return lines if len(lines) == 2 else None

    assert [request_id in line for line in eventually(both)] == [True, True]
    assert injected(server) == {"rule": (1, 1)}


def test_a_synchronous_invocation_is_not_duplicated(server: Server, tmp_path: Path) -> None:
    """It is no event."""
    function = server.function()
    inject(server, rule("lambda:Invoke", "duplicated", **of(function)))
    function.invoke({"record": str(tmp_path / "record")})
    assert injected(server) == {"rule": (0, 0)}


def test_a_runtime_is_killed_in_its_init_phase(server: Server) -> None:
    """The first invocation repeats the phase, and fails if that is killed, too."""
    function = server.function()
    inject(server, rule("lambda:Init", "init_error", limit=1, **of(function)))
    assert "FunctionError" not in function.invoke()
    assert injected(server) == {"rule": (2, 1)}
    assert any("INIT_REPORT" in line and "error" in line for _, line in function.log_lines())
    other = server.function()
    inject(server, rule("lambda:Init", "init_error", **of(other)))
    failed = other.invoke()["Payload"]
    assert failed["errorType"] == "Runtime.ExitError"
    assert failed["errorMessage"].endswith("signal: killed")


def test_a_restore_is_killed(server: Server) -> None:
    """It fails the invocation, as a failing hook does; the next one is restored again."""
    function = server.function(
        "local_aws_snapshot_handlers.handle", SnapStart={"ApplyOn": "PublishedVersions"}
    )
    version = function.client.publish_version(FunctionName=function.name)["Version"]
    eventually(lambda: _state(function, version) == "Active" or None)
    inject(server, rule("lambda:Init", "init_error", limit=1, **of(function)))
    with pytest.raises(ClientError) as failed:
        function.invoke(Qualifier=version)
    assert failed.value.response["Error"]["Code"] == "SnapStartException"
    assert "FunctionError" not in function.invoke(Qualifier=version)


def _state(function: Function, version: str) -> str:
    described = function.client.get_function(FunctionName=function.name, Qualifier=version)
    return str(described["Configuration"]["State"])


def test_a_runtime_is_killed_in_an_invocation(server: Server) -> None:
    """The environment starts another one for the next."""
    function = server.function()
    inject(server, rule("lambda:Environment", "killed", delay_s=0.1, limit=1, **of(function)))
    failed = function.invoke({"sleep_s": 600})["Payload"]
    assert failed["errorType"] == "Runtime.ExitError"
    assert failed["errorMessage"].endswith("signal: killed")
    assert "FunctionError" not in function.invoke()


def test_an_invocation_that_is_over_before_counts_as_spared(server: Server) -> None:
    """And nothing of the fault happens to the next one."""
    function = server.function()
    inject(server, rule("lambda:Environment", "killed", delay_s=600, **of(function)))
    assert "FunctionError" not in function.invoke()
    assert function.invoke()["Payload"]["invocations"] == 2
    assert injected(server) == {"rule": (2, 0)}


def test_a_frozen_environment_continues(server: Server) -> None:
    """The invocation ends as it would have, but later."""
    function = server.function()
    function.invoke()
    frozen = rule("lambda:Environment", "frozen", delay_s=0.3, after_s=0, **of(function))
    inject(server, frozen)
    began_s = time.monotonic()
    assert "FunctionError" not in function.invoke({"sleep_s": 0.1})
    assert time.monotonic() - began_s >= 0.3
    assert injected(server) == {"rule": (1, 1)}


def test_a_frozen_environment_times_out(server: Server) -> None:
    """Its clock goes on, and it is killed although it stands still."""
    function = server.function(Timeout=1)
    inject(server, rule("lambda:Environment", "frozen", delay_s=600, **of(function)))
    failed = function.invoke({"sleep_s": 0.5})["Payload"]
    assert failed["errorType"] == "Sandbox.Timedout"
    assert set(function.states()) <= {"T"}
    inject(server)
    assert "FunctionError" not in function.invoke()


def test_a_seed_replays(queue: Queue) -> None:
    """The same calls meet the same faults."""

    def meet(seed: int) -> list[bool]:
        inject(queue.server)
        lossy = rule("sqs:SendMessage", "lost", share=0.5, **of(queue))
        inject(queue.server, lossy, seed=seed)
        sent = [send(queue) for _ in range(10)]
        stored = {each for each, _ in received(queue)}
        queue.server.client("sqs").purge_queue(QueueUrl=queue.url)
        return [each in stored for each in sent]

    first = meet(7)
    assert meet(7) == first
    assert {True, False} == set(first)
    assert meet(8) != first


def test_a_wrong_rule_is_refused(server: Server) -> None:
    """The answer says what is wrong and what is allowed."""
    url = f"{server.url}/_local_aws/faults"
    answer = httpx.put(url, json={"rules": [rule("sqs:*", "lost")]}, trust_env=False)
    assert (answer.status_code, answer.text) == (
        400,
        "api of the rule 'rule' is 'sqs:*': it must be sqs:SendMessage for lost\n",
    )
    assert httpx.put(url, content=b"{", trust_env=False).status_code == 400
    assert "use POST" in httpx.post(url, trust_env=False).text


def test_answers_do_not_change_under_rules_that_hit_nothing(server: Server, queue: Queue) -> None:
    """Every byte is the same but for dates and ids; also bodies in many pieces arrive whole."""
    s3, body = server.client("s3"), bytes(range(256)) * 8192
    bucket = f"whole-{queue.arn.rpartition('-')[2]}"
    s3.create_bucket(Bucket=bucket)
    s3.put_object(Bucket=bucket, Key="read", Body=b"text")

    def answers() -> list[str]:
        s3.put_object(Bucket=bucket, Key="written", Body=body)
        assert s3.get_object(Bucket=bucket, Key="written")["Body"].read() == body
        asked = [
            httpx.get(f"{server.url}/{bucket}/read", trust_env=False),
            httpx.post(queue.url, data={"Action": "SendMessage", "MessageBody": "m"}),
        ]
        return [re.sub(r"[0-9a-f-]{36}|\ndate: .*|x-amz-id-2: .*", "", _raw(a)) for a in asked]

    before = answers()
    inject(server, rule("*", "reset", share=0))
    assert answers() == before
    assert injected(server) == {"rule": (4, 0)}


@pytest.mark.parametrize("body", [b"{", b"\xff\xfe"])
def test_a_malformed_request_is_refused_as_ever(server: Server, body: bytes) -> None:
    """Also if rules look at it, by the service that it is for."""
    inject(server, rule("*", "reset", queue="of-nobody"))
    answer = _post(server, body, {"x-amz-target": RUN_TASK})
    assert answer.status_code == 400
    assert "Exception" in answer.text


@pytest.mark.parametrize(
    "target",
    [RUN_TASK, "AmazonSQS.SendMessage", "secretsmanager.GetSecretValue", "AmazonSSM.GetParameter"],
)
@pytest.mark.parametrize(
    ("body", "headers"),
    [
        (b'{"cluster": ' + b"[" * 200_000, {}),
        (b'{"cluster": ' + b"[" * 200_000 + b"]" * 200_000 + b"}", {}),
        (b"no gzip", {"content-encoding": "gzip"}),
        (b"\x1f\x8b\x08\x00\x00\x00\x00\x00\x00\x03broken", {"content-encoding": "gzip"}),
    ],
)
def test_rules_that_hit_nothing_leave_the_answer_to_what_cannot_be_read(
    server: Server, target: str, body: bytes, headers: dict[str, str]
) -> None:
    """Whatever the service makes of it: what rules would have looked at is no error of its own."""
    before = _post(server, body, {"x-amz-target": target, **headers})
    inject(server, rule("*", "reset", queue="of-nobody"))
    after = _post(server, body, {"x-amz-target": target, **headers})
    assert (after.status_code, _anonymous(after)) == (before.status_code, _anonymous(before))
    assert injected(server) == {"rule": (0, 0)}


def _post(server: Server, body: bytes, headers: dict[str, str]) -> httpx.Response:
    return httpx.post(server.url, content=body, headers=headers, trust_env=False)


def _anonymous(answer: httpx.Response) -> str:
    return re.sub(r"[0-9a-f-]{36}", "", answer.text)


def _raw(answer: httpx.Response) -> str:
    lines = [f"{name}: {value}" for name, value in answer.headers.multi_items()]
    return "\n".join([str(answer.status_code), *lines, answer.text])
