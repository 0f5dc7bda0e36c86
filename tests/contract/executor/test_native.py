"""awscrt sends what boto3 would send, to where boto3 would send it, over real sockets."""

from __future__ import annotations

import datetime as dt
import gc
import json
import logging
import ssl
import time
from pathlib import Path
from typing import Any

import boto3
import pytest
import trustme
from botocore.auth import SigV4Auth
from botocore.awsrequest import AWSRequest, AWSResponse
from botocore.config import Config
from botocore.credentials import Credentials, RefreshableCredentials

from lambda_executor.aws import Clients, LambdaFunctions, SqsQueue, native, signing
from lambda_executor.aws.http import Connections, Route
from lambda_executor.contract.errors import (
    AwsError,
    CredentialsError,
    RejectedError,
    ThrottledError,
    UnreachableError,
)
from lambda_executor.core.targets import FunctionTarget
from tests.support.aws_server import PAYLOAD, clients, send, serving

ARN = "arn:aws:lambda:eu-west-1:123456789012:function:fn"
TARGETS = [
    FunctionTarget("fn"),
    FunctionTarget("fn", "live"),
    FunctionTarget(ARN, "$LATEST"),
    FunctionTarget("fn", "1", "a/b:c"),
]


def tls_of(bundle: Path) -> ssl.SSLContext:
    """The TLS of a server at localhost; its authority is written to a file."""
    authority = trustme.CA()
    authority.cert_pem.write_to_path(str(bundle))
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("localhost").configure_cert(context)
    return context


def urls_of(lambda_clients: Clients) -> list[str]:
    """Where the copies of an invoke go; nothing is sent."""
    functions, urls = LambdaFunctions(lambda_clients), []
    headers: Any = {}

    def answer(request: Any, **_: object) -> AWSResponse:
        urls.append(request.url)
        return AWSResponse(request.url, 202, headers, Raw())

    events: Any = lambda_clients.function.meta.events
    events.register("before-send.lambda.Invoke", answer)
    send(functions)
    send(functions)
    return urls


class Raw:
    """The body of an answer."""

    def stream(self) -> list[bytes]:
        """Nothing."""
        return []

    def read(self) -> bytes:
        """Nothing."""
        return b""


@pytest.mark.parametrize("target", TARGETS, ids=str)
def test_the_request_is_the_one_that_boto3_makes(
    monkeypatch: pytest.MonkeyPatch, target: FunctionTarget
) -> None:
    """Same path and body; same headers, the user agent among them, but what names one request."""
    with serving() as server:
        monkeypatch.setenv("AWS_ENDPOINT_URL_LAMBDA", server.url)
        functions = LambdaFunctions(clients())
        send(functions, target)
        functions.invoke(target, PAYLOAD)
    ours, boto3s = server.seen
    assert (ours[:2], ours[3]) == (boto3s[:2], boto3s[3])
    of_one = {"authorization", "x-amz-date", "amz-sdk-invocation-id", "amz-sdk-request"}
    of_the_library = {"accept-encoding"}  # urllib3's own
    kept = {name: value for name, value in boto3s[2].items() if name not in of_one}
    assert {n: v for n, v in ours[2].items() if n not in of_one} == {
        n: v for n, v in kept.items() if n not in of_the_library
    }
    assert "Boto3/" in ours[2]["user-agent"]


def test_the_signature_is_the_one_that_botocore_makes(monkeypatch: pytest.MonkeyPatch) -> None:
    """Signed again by botocore, the received request has the same one; with a token."""
    monkeypatch.setenv("AWS_SESSION_TOKEN", "token")
    with serving() as server:
        monkeypatch.setenv("AWS_ENDPOINT_URL_LAMBDA", server.url)
        functions = LambdaFunctions(clients())
        send(functions, TARGETS[2])
    ((method, path, headers, body),) = server.seen
    signed = headers["authorization"].split("SignedHeaders=")[1].split(",")[0].split(";")
    assert {"host", "x-amz-date", "x-amz-invocation-type", "x-amz-security-token"} <= set(signed)
    request = AWSRequest(method, server.url + path, {n: headers[n] for n in signed}, body)
    request.context["timestamp"] = headers["x-amz-date"]
    signer = SigV4Auth(Credentials("test", "test", "token"), "lambda", "eu-west-1")
    canonical = signer.canonical_request(request)
    signature = signer.signature(signer.string_to_sign(request, canonical), request)
    assert headers["authorization"].endswith(f"Signature={signature}")


@pytest.mark.parametrize(
    ("variables", "host"),
    [
        ({}, "lambda.eu-west-1.amazonaws.com"),
        ({"AWS_USE_FIPS_ENDPOINT": "true"}, "lambda-fips.eu-west-1.amazonaws.com"),
        ({"AWS_USE_DUALSTACK_ENDPOINT": "true"}, "lambda.eu-west-1.api.aws"),
        ({"AWS_ENDPOINT_URL": "https://vpce.example:8443"}, "vpce.example:8443"),
    ],
)
def test_the_endpoint_is_the_one_that_botocore_resolves(
    monkeypatch: pytest.MonkeyPatch, variables: dict[str, str], host: str
) -> None:
    """FIPS, dual-stack and other endpoints are those of the settings."""
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    assert [url.split("/")[2] for url in urls_of(clients())] == [host, host]


def test_credentials_are_refreshed_as_boto3_refreshes_them(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Each request is signed with the credentials of its time."""
    now = [dt.datetime.now(dt.UTC)]
    numbers = iter(range(1, 100))

    def refresh() -> dict[str, str]:
        number = next(numbers)
        return {
            "access_key": f"key{number}",
            "secret_key": "secret",
            "token": f"token{number}",
            "expiry_time": (now[0] + dt.timedelta(hours=1)).isoformat(),
        }

    class Session(boto3.Session):
        def __init__(self) -> None:
            super().__init__()
            inner: Any = self._session
            inner._credentials = RefreshableCredentials(
                "old", "old", "old", now[0], refresh, "test", time_fetcher=lambda: now[0]
            )

    with serving() as server:
        monkeypatch.setenv("AWS_ENDPOINT_URL_LAMBDA", server.url)
        functions = LambdaFunctions(clients(Session))
        for _ in range(3):
            send(functions)
            now[0] += dt.timedelta(hours=2)
    keys = [
        headers["authorization"].split("Credential=")[1].split("/")[0]
        for *_, headers, _ in server.seen
    ]
    tokens = [headers["x-amz-security-token"] for *_, headers, _ in server.seen]
    assert len(set(keys)) == 3
    assert [key.removeprefix("key") for key in keys] == [t.removeprefix("token") for t in tokens]


def test_a_profile_of_the_config_file_is_followed(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """Its credentials sign, and its CA bundle is trusted, as by boto3."""
    context = tls_of(tmp_path / "ca.pem")
    (tmp_path / "config").write_text(
        "[profile own]\naws_access_key_id = fromfile\naws_secret_access_key = secret\n"
        f"ca_bundle = {tmp_path / 'ca.pem'}\n"
    )
    monkeypatch.setenv("AWS_CONFIG_FILE", str(tmp_path / "config"))
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.delenv(name)
    with serving(tls=context) as server:
        port = server.server_address[1]
        monkeypatch.setenv("AWS_ENDPOINT_URL_LAMBDA", f"https://localhost:{port}")
        send(LambdaFunctions(clients(lambda: boto3.Session(profile_name="own"))))
    ((_, _, headers, _),) = server.seen
    assert "Credential=fromfile/" in headers["authorization"]


def test_without_credentials_nothing_is_sent(monkeypatch: pytest.MonkeyPatch) -> None:
    """The error is that of boto3."""
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.delenv(name)
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    with serving() as server:
        monkeypatch.setenv("AWS_ENDPOINT_URL_LAMBDA", server.url)
        with pytest.raises(CredentialsError):
            send(LambdaFunctions(clients()))
    assert server.seen == []


@pytest.mark.parametrize(
    ("status", "error_type", "kind"),
    [
        (429, "TooManyRequestsException:http://internal.amazon.com/", ThrottledError),
        (403, "ExpiredTokenException", CredentialsError),
        (404, "ResourceNotFoundException", RejectedError),
    ],
)
def test_an_error_is_the_one_that_boto3_raises(
    monkeypatch: pytest.MonkeyPatch, status: int, error_type: str, kind: type[AwsError]
) -> None:
    """It has the same code and AWS's words, so that the dispatcher treats it in the same way."""
    with serving(status, b'{"Message": "said", "Type": "User"}', error_type) as server:
        monkeypatch.setenv("AWS_ENDPOINT_URL_LAMBDA", server.url)
        functions = LambdaFunctions(clients())
        with pytest.raises(kind) as ours:
            send(functions)
        with pytest.raises(kind) as boto3s:
            functions.invoke(TARGETS[0], PAYLOAD)
    assert ours.value.code == boto3s.value.code == error_type.partition(":")[0]
    assert str(ours.value).endswith("operation: said")


def test_certificates_are_those_of_the_settings(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """A server is trusted by `AWS_CA_BUNDLE`, and not without it."""
    bundle = tmp_path / "ca.pem"
    context = tls_of(bundle)
    with serving(tls=context) as server:
        port = server.server_address[1]
        monkeypatch.setenv("AWS_ENDPOINT_URL_LAMBDA", f"https://localhost:{port}")
        with pytest.raises(UnreachableError, match=f"localhost:{port}"):
            send(LambdaFunctions(clients()))
        assert server.seen == []
        monkeypatch.setenv("AWS_CA_BUNDLE", str(bundle))
        send(LambdaFunctions(clients()))
        assert len(server.seen) == 1


def test_a_bundle_that_is_not_there_is_left_to_boto3(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """Nothing is sent, and the log says why; boto3's error is the user's."""
    monkeypatch.setenv("AWS_CA_BUNDLE", "/nowhere/ca.pem")
    monkeypatch.setenv("AWS_ENDPOINT_URL_LAMBDA", "https://localhost:1")
    assert not LambdaFunctions(clients()).begin(TARGETS[0], PAYLOAD, print)
    assert "/nowhere/ca.pem" in caplog.text


def test_a_plain_request_goes_through_the_proxy(monkeypatch: pytest.MonkeyPatch) -> None:
    """`HTTP_PROXY` gets the whole URL, with its user and password; `NO_PROXY` goes past it."""
    with serving() as proxy, serving() as server:
        monkeypatch.setenv("AWS_ENDPOINT_URL_LAMBDA", "http://aws.test")
        address = proxy.url.removeprefix("http://")
        monkeypatch.setenv("HTTP_PROXY", f"http://user:p%40ss@{address}")
        send(LambdaFunctions(clients()))
        ((_, path, headers, _),) = proxy.seen
        assert path == "http://aws.test:80/2015-03-31/functions/fn/invocations"
        assert headers["proxy-authorization"] == "Basic dXNlcjpwQHNz"
        monkeypatch.setenv("AWS_ENDPOINT_URL_LAMBDA", server.url)
        monkeypatch.setenv("NO_PROXY", "127.0.0.1")
        send(LambdaFunctions(clients()))
        assert (len(proxy.seen), len(server.seen)) == (1, 1)


def test_a_tunnel_is_asked_of_the_proxy(monkeypatch: pytest.MonkeyPatch) -> None:
    """`HTTPS_PROXY` is asked for a tunnel to the endpoint; here it refuses."""
    with serving() as proxy:
        monkeypatch.setenv("AWS_ENDPOINT_URL_LAMBDA", "https://aws.test")
        monkeypatch.setenv("HTTPS_PROXY", proxy.url)
        with pytest.raises(UnreachableError, match=proxy.url.removeprefix("http://")):
            send(LambdaFunctions(clients()))
    assert {(method, path) for method, path, *_ in proxy.seen} == {("CONNECT", "aws.test:443")}


def test_a_tunnel_leads_to_a_server_of_its_own_authority(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """The proxy only connects: TLS is with the server, whose bundle is that of the settings."""
    context = tls_of(tmp_path / "ca.pem")
    monkeypatch.setenv("AWS_CA_BUNDLE", str(tmp_path / "ca.pem"))
    with serving(tls=context) as server, serving() as proxy:
        port = server.server_address[1]
        proxy.tunnel_to = ("127.0.0.1", port)
        monkeypatch.setenv("AWS_ENDPOINT_URL_LAMBDA", f"https://localhost:{port}")
        monkeypatch.setenv("HTTPS_PROXY", proxy.url)
        functions = LambdaFunctions(clients())
        send(functions)
        send(functions)
        del functions
        gc.collect()
    assert [seen[:2] for seen in proxy.seen] == [("CONNECT", f"localhost:{port}")]
    assert [body for *_, body in server.seen] == [PAYLOAD, PAYLOAD]


@pytest.mark.parametrize(
    ("proxy", "config", "reason"),
    [
        ("https://proxy.test:3128", None, "the proxy is reached by TLS"),
        (
            "",
            Config(client_cert="client.pem"),
            "the client or its proxy has certificates of its own",
        ),
        (
            "",
            Config(proxies_config={"proxy_ca_bundle": "ca.pem"}),
            "the client or its proxy has certificates of its own",
        ),
    ],
    ids=["proxy by TLS", "certificate of the client", "certificates of the proxy"],
)
def test_what_awscrt_cannot_is_left_to_boto3(
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    proxy: str,
    config: Config | None,
    reason: str,
) -> None:
    """Nothing is sent, and the log says why, once for all clients."""
    native._say.cache_clear()
    caplog.set_level(logging.WARNING)
    monkeypatch.setenv("HTTPS_PROXY", proxy)

    def session() -> boto3.Session:
        made = boto3.Session()
        if config:
            made._session.set_default_client_config(config)
        return made

    for _ in range(2):
        assert not LambdaFunctions(clients(session)).begin(TARGETS[0], PAYLOAD, print)
    said = f"boto3 makes the calls to https://lambda.eu-west-1.amazonaws.com: {reason}"
    assert caplog.messages == [said]


def test_a_missing_awscrt_is_said_once(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """boto3 makes the calls, and the log says so once, with what to do."""
    monkeypatch.setattr(native, "WHY_MISSING", "No module named 'awscrt'")
    native._why_missing.cache_clear()
    caplog.set_level(logging.INFO)
    try:
        with serving() as server:
            monkeypatch.setenv("AWS_ENDPOINT_URL_LAMBDA", server.url)
            for _ in range(2):
                functions = LambdaFunctions(clients())
                assert not functions.begin(TARGETS[0], PAYLOAD, print)
                functions.invoke(TARGETS[0], PAYLOAD)
    finally:
        native._why_missing.cache_clear()
    assert len(server.seen) == 2
    assert caplog.text.count("pip install 'airflow-lambda-executor[native]'") == 1


def test_a_listener_is_notified_and_may_answer(monkeypatch: pytest.MonkeyPatch) -> None:
    """Tracers see each request, and moto answers it: nothing reaches the server."""
    with serving() as server:
        monkeypatch.setenv("AWS_ENDPOINT_URL_LAMBDA", server.url)
        assert len(urls_of(clients())) == 2
    assert server.seen == []


def test_connections_are_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    """Ten requests after each other need one connection."""
    with serving() as server:
        monkeypatch.setenv("AWS_ENDPOINT_URL_LAMBDA", server.url)
        functions = LambdaFunctions(clients())
        for _ in range(10):
            send(functions)
        assert (len(server.seen), server.connections) == (10, 1)


def test_connections_end_with_their_client(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing has to close them: the server sees the end of each."""
    with serving() as server:
        monkeypatch.setenv("AWS_ENDPOINT_URL_LAMBDA", server.url)
        functions = LambdaFunctions(clients())
        send(functions)
        del functions
        gc.collect()
        assert server.ended.wait(10)


def test_after_it_reached_nothing_boto3_tries(monkeypatch: pytest.MonkeyPatch) -> None:
    """The next send is not by awscrt, and the one after it is again."""
    with serving() as server:
        monkeypatch.setenv("AWS_ENDPOINT_URL_LAMBDA", server.url)
        functions = LambdaFunctions(clients())
        route = Route("http://127.0.0.1:1", "", None, connect_s=2, read_s=5)
        functions._clients.native("lambda")._ways._connections[server.url] = Connections(route)
        with pytest.raises(UnreachableError):
            send(functions)
        assert not functions.begin(TARGETS[0], PAYLOAD, print)
        functions.invoke(TARGETS[0], PAYLOAD)
        del functions._clients.native("lambda")._ways._connections[server.url]
        send(functions)
    assert len(server.seen) == 2


@pytest.mark.parametrize(
    ("call", "target", "answer"),
    [
        (
            lambda queue: [m.body for m in queue.receive(0, 5)],
            "AmazonSQS.ReceiveMessage",
            (b'{"Messages": [{"Body": "b", "ReceiptHandle": "r"}]}', ["b"]),
        ),
        (lambda queue: queue.receive(1), "AmazonSQS.ReceiveMessage", (b"{}", [])),
        (
            lambda queue: queue.delete(["r"]),
            "AmazonSQS.DeleteMessageBatch",
            (b'{"Failed": [{"Id": "0", "Code": "c", "SenderFault": true}]}', 1),
        ),
    ],
)
def test_a_queue_is_asked_what_boto3_would_ask(
    monkeypatch: pytest.MonkeyPatch, call: Any, target: str, answer: tuple[bytes, Any]
) -> None:
    """Same headers and body, and the same answer."""
    body, expected = answer
    seen = []
    for missing in (None, "away"):
        with serving(200, body) as server:
            monkeypatch.setenv("AWS_ENDPOINT_URL_SQS", server.url)
            sqs = clients()
            sqs.native("sqs")._why_not = missing
            assert call(SqsQueue(sqs, f"{server.url}/123456789012/results")) == expected
        ((_, _, headers, sent),) = server.seen
        assert (headers["x-amz-target"], headers["content-type"]) == (target, native.JSON)
        seen.append(sent.replace(server.url.encode(), b""))
    assert seen[0] == seen[1]


@pytest.mark.parametrize("missing", [None, "away"])
@pytest.mark.parametrize("ahead_s", [-30, 30])
def test_when_a_message_was_sent_is_said_by_our_clock(
    monkeypatch: pytest.MonkeyPatch, missing: str | None, ahead_s: int
) -> None:
    """AWS says it by its own clock, whose time is in the same answer, whoever makes the call."""
    with serving() as server:
        monkeypatch.setenv("AWS_ENDPOINT_URL_SQS", server.url)
        sqs = clients()
        sqs.native("sqs")._why_not = missing
        sent_at_s, server.ahead_s, server.status = time.time(), ahead_s, 200
        attributes = {"SentTimestamp": str(int((sent_at_s + ahead_s) * 1000))}
        message = {"Body": "b", "ReceiptHandle": "r", "Attributes": attributes}
        server.body = json.dumps({"Messages": [message]}).encode()
        (received,) = SqsQueue(sqs, f"{server.url}/123456789012/results").receive(0)
        took_s = time.time() - sent_at_s
    assert received.sent_at_s == pytest.approx(sent_at_s, abs=1.1 + took_s)


def test_an_answer_that_is_not_json_is_left_to_boto3(monkeypatch: pytest.MonkeyPatch) -> None:
    """A proxy that wants a password answers 200 with its page; boto3 asks, and copes with it."""
    with serving(200, b"<html>") as server:
        monkeypatch.setenv("AWS_ENDPOINT_URL_SQS", server.url)
        queue = SqsQueue(clients(), f"{server.url}/123456789012/results")
        assert queue.receive(0) == []
    assert len(server.seen) == 2


def test_headers_of_a_trace_are_not_copied(monkeypatch: pytest.MonkeyPatch) -> None:
    """A tracer adds them to the request that boto3 makes; the others are not of that trace."""
    names = {"traceparent", "tracestate", "baggage", "X-Amzn-Trace-Id"}
    with serving() as server:
        monkeypatch.setenv("AWS_ENDPOINT_URL_LAMBDA", server.url)
        own = clients()

        def trace(request: Any, **_: object) -> None:
            for name in names:
                request.headers[name] = "of the first"

        # After botocore has signed.
        own.function.meta.events.register_last("request-created.lambda.Invoke", trace)
        send(LambdaFunctions(own))
    ((_, _, headers, _),) = server.seen
    assert not {name.lower() for name in names} & set(headers)


def test_a_signed_header_of_a_trace_is_left_to_boto3(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """A copy without it would have another signature. Older botocores sign those of tracers."""
    monkeypatch.setattr(signing, "_OF_ONE", signing._OF_ONE | {"x-own-trace"})
    native._say.cache_clear()
    with serving() as server:
        monkeypatch.setenv("AWS_ENDPOINT_URL_LAMBDA", server.url)
        own = clients()

        def trace(request: Any, **_: object) -> None:
            request.headers["x-own-trace"] = "signed"

        own.function.meta.events.register("before-sign.lambda.Invoke", trace)
        assert not LambdaFunctions(own).begin(TARGETS[0], PAYLOAD, print)
    assert "boto3 signs its requests in another way" in caplog.text
    assert server.seen == []


def test_few_kinds_of_requests_are_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each tenant has its own; the oldest goes, and is made again when it is needed."""
    monkeypatch.setattr(native, "MOST_TEMPLATES", 2)
    with serving() as server:
        monkeypatch.setenv("AWS_ENDPOINT_URL_LAMBDA", server.url)
        own = clients()
        functions = LambdaFunctions(own)
        for tenant in ("a", "b", "c", "a"):
            send(functions, FunctionTarget("fn", tenant=tenant))
        assert len(own.native("lambda")._templates) == 2
    assert [headers["x-amz-tenant-id"] for *_, headers, _ in server.seen] == ["a", "b", "c", "a"]


def test_a_queue_that_awscrt_does_not_reach_is_asked_by_boto3(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A failed receive is made again by boto3, in the same call."""
    with serving(200, b"{}") as server:
        monkeypatch.setenv("AWS_ENDPOINT_URL_SQS", server.url)
        sqs = clients()
        reach = sqs.native("sqs")._reach
        reach.not_sent(reach._attempt)
        assert SqsQueue(sqs, f"{server.url}/123456789012/results").receive(0) == []
        assert reach.attempt() is not None
    assert len(server.seen) == 1
