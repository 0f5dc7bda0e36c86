"""Our short invoke sends the same request as boto3's, and raises the same errors."""

from __future__ import annotations

from collections.abc import Callable
from io import BytesIO
from typing import Any

import boto3
import pytest
from botocore.awsrequest import AWSResponse
from botocore.config import Config
from botocore.exceptions import ClientError, NoCredentialsError

from lambda_executor.aws import translate
from lambda_executor.aws.invoking import invoke_event
from lambda_executor.contract.errors import (
    AwsError,
    CredentialsError,
    RejectedError,
    ThrottledError,
)
from lambda_executor.core.routing import Target

PAYLOAD = b'{"task_key": "x"}'
ARN = "arn:aws:lambda:eu-west-1:123456789012:function:fn"
Answer = Callable[..., AWSResponse]


class Raw:
    """The body of an answer."""

    def __init__(self, body: bytes) -> None:
        self.body = body

    def stream(self) -> list[bytes]:
        """All of it."""
        return [self.body]

    def read(self) -> bytes:
        """All of it."""
        return self.body


def answering(status: int, body: bytes = b"", **headers: str) -> tuple[Any, list[Any]]:
    """A client with the same answer to every call, and the requests that it made."""
    client: Any = boto3.client("lambda", config=Config(retries={"total_max_attempts": 1}))
    requests: list[Any] = []

    def answer(request: Any, **_: object) -> AWSResponse:
        requests.append(request)
        named: Any = {name.replace("_", "-"): value for name, value in headers.items()}
        return AWSResponse(request.url, status, named, Raw(body))

    client.meta.events.register("before-send.lambda.Invoke", answer)
    return client, requests


def text(header: str | bytes) -> str:
    """A header's value as text; botocore keeps text or bytes."""
    return header.decode() if isinstance(header, bytes) else header


def signed_headers(request: Any) -> set[str]:
    """The names of the headers that the signature covers."""
    authorization = text(request.headers["Authorization"])
    return set(authorization.split("SignedHeaders=")[1].split(",")[0].split(";"))


@pytest.mark.parametrize("target", [Target("fn"), Target("fn", "live"), Target(ARN, "$LATEST")])
def test_the_request_is_the_one_that_boto3_makes(target: Target) -> None:
    """Same URL, same body, same invocation type, and a signature over at least the same headers."""
    client, requests = answering(202)
    invoke_event(client, target, BytesIO(PAYLOAD))
    qualifier = {"Qualifier": target.qualifier} if target.qualifier else {}
    client.invoke(
        FunctionName=target.function, InvocationType="Event", Payload=PAYLOAD, **qualifier
    )
    ours, boto3s = requests
    assert (ours.method, ours.url, ours.body.read()) == (boto3s.method, boto3s.url, boto3s.body)
    for name in ("X-Amz-Invocation-Type", "Content-Length"):
        assert text(ours.headers[name]) == text(boto3s.headers[name])
    assert signed_headers(ours) >= {"host", "x-amz-date", "x-amz-invocation-type"}
    assert text(ours.headers["Authorization"]).startswith("AWS4-HMAC-SHA256 Credential=test/")


@pytest.mark.parametrize(
    ("status", "error_type", "kind"),
    [
        (429, "TooManyRequestsException:http://internal.amazon.com/", ThrottledError),
        (403, "ExpiredTokenException", CredentialsError),
        (404, "ResourceNotFoundException", RejectedError),
    ],
)
def test_an_error_is_the_one_that_boto3_raises(
    status: int, error_type: str, kind: type[AwsError]
) -> None:
    """It has the same code and message, so that the dispatcher treats it in the same way."""
    client, _ = answering(
        status, b'{"Message": "said", "Type": "User"}', x_amzn_ErrorType=error_type
    )
    with pytest.raises(ClientError) as ours:
        invoke_event(client, Target("fn"), BytesIO(PAYLOAD))
    with pytest.raises(ClientError) as boto3s:
        client.invoke(FunctionName="fn", InvocationType="Event", Payload=PAYLOAD)
    assert ours.value.response["Error"] == boto3s.value.response["Error"]
    assert type(translate(ours.value)) is kind


def test_an_answer_of_a_proxy_is_an_error_too() -> None:
    """An answer without AWS's JSON is judged by its status."""
    client, _ = answering(502, b"<html>Bad gateway</html>")
    with pytest.raises(ClientError, match="502"):
        invoke_event(client, Target("fn"), BytesIO(PAYLOAD))


def test_without_credentials_nothing_is_sent(monkeypatch: pytest.MonkeyPatch) -> None:
    """The invoke fails with a credentials error before a request is sent."""
    client, requests = answering(202)
    monkeypatch.setattr(client._request_signer, "_credentials", None)
    with pytest.raises(NoCredentialsError):
        invoke_event(client, Target("fn"), BytesIO(PAYLOAD))
    assert requests == []


def test_a_botocore_without_these_parts_is_called_the_usual_way() -> None:
    """The short way depends on two private names; without them the invoke is boto3's own."""

    class Stock:
        def invoke(self, **asked: Any) -> dict[str, Any]:
            self.asked, self.payload = asked, Raw(b"")
            return {"Payload": self.payload}

    stock: Any = Stock()
    invoke_event(stock, Target("fn", "live"), BytesIO(PAYLOAD))
    assert stock.asked.pop("Payload").read() == PAYLOAD
    assert stock.asked == {
        "FunctionName": "fn",
        "Qualifier": "live",
        "InvocationType": "Event",
    }


def test_this_botocore_has_these_parts() -> None:
    """Without them the invoke would silently be slower; this test would fail."""
    client = boto3.client("lambda")
    assert callable(client._request_signer.sign)  # type: ignore[attr-defined]
    assert callable(client._endpoint.http_session.send)  # type: ignore[attr-defined]


def test_the_tenant_of_a_target_is_sent_to_lambda() -> None:
    """A target's tenant is in a signed header; without a tenant the header is missing."""
    client, requests = answering(202)
    invoke_event(client, Target("fn", "live", "team-a"), BytesIO(PAYLOAD))
    invoke_event(client, Target("fn", "live"), BytesIO(PAYLOAD))
    with_tenant, without = requests
    assert text(with_tenant.headers["X-Amz-Tenant-Id"]) == "team-a"
    assert "x-amz-tenant-id" in signed_headers(with_tenant)
    assert "X-Amz-Tenant-Id" not in without.headers
