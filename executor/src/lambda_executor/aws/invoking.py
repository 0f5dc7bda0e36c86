"""One asynchronous invoke, with no more work than a signed HTTP request takes.

Sending is what a busy scheduler's process spends its time on, and this takes little more than half
of the processor time of boto3's `invoke` (docs/reference/benchmarks.md). The signature and the
connections are still the client's own, and with them credentials and their refresh, Region,
endpoint, proxies, CA bundle and time-outs. Left out is what botocore works out again for every
call: validation, endpoint rules, user agent, checksums, retries (the dispatcher's), the parsing of
an empty answer.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any
from urllib.parse import quote

from botocore.awsrequest import AWSRequest
from botocore.exceptions import ClientError
from botocore.parsers import create_parser

from lambda_executor.core.routing import Target

if TYPE_CHECKING:
    from mypy_boto3_lambda import LambdaClient

#: https://docs.aws.amazon.com/lambda/latest/api/API_Invoke.html: an event was accepted.
_ACCEPTED = 202


def invoke_event(client: LambdaClient, target: Target, payload: bytes) -> None:
    """Hand one payload to Lambda, asynchronously.

    Raises:
        ClientError: Lambda did not accept it.
        BotoCoreError: There are no credentials, or no connection.
    """
    untyped: Any = client  # What follows is missing in the stubs of botocore, or private there.
    try:
        sign = untyped._request_signer.sign  # noqa: SLF001 - there is no public name
        send = untyped._endpoint.http_session.send  # noqa: SLF001 - there is no public name
    except AttributeError:
        _invoke_event_stock(untyped, target, payload)
        return
    request = AWSRequest(
        "POST",
        client.meta.endpoint_url.rstrip("/") + _path(target),
        headers={
            "User-Agent": untyped.meta.config.user_agent,
            "X-Amz-Invocation-Type": "Event",
            **({"X-Amz-Tenant-Id": target.tenant} if target.tenant else {}),
        },
        data=payload,
    )
    sign("Invoke", request)
    prepared = request.prepare()
    # Whoever listens to boto3's calls (moto, tracers) hears of this one too, and may answer it.
    _, answer = untyped.meta.events.emit_until_response(
        "before-send.lambda.Invoke", request=prepared
    )
    if answer is None:
        answer = send(prepared)
    if answer.status_code != _ACCEPTED:
        raise ClientError(_parsed(untyped, answer), "Invoke")


def _invoke_event_stock(client: Any, target: Target, payload: bytes) -> None:  # noqa: ANN401 - see above
    qualifier = {"Qualifier": target.qualifier} if target.qualifier else {}
    tenant = {"TenantId": target.tenant} if target.tenant else {}
    answer = client.invoke(
        FunctionName=target.function, InvocationType="Event", Payload=payload, **qualifier, **tenant
    )
    # An answer that is not read keeps its connection from being used again.
    answer["Payload"].read()


def _path(target: Target) -> str:
    path = f"/2015-03-31/functions/{quote(target.function, safe='')}/invocations"
    return f"{path}?Qualifier={quote(target.qualifier, safe='')}" if target.qualifier else path


def _parsed(client: Any, answer: Any) -> Any:  # noqa: ANN401 - see above
    return create_parser("rest-json").parse(
        {"status_code": answer.status_code, "headers": answer.headers, "body": answer.content},
        client.meta.service_model.operation_model("Invoke").output_shape,
    )
