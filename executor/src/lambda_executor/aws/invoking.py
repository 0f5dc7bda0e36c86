"""One asynchronous invoke, with no more work than a signed HTTP request takes.

A busy scheduler's process spends most of its time on sending. This takes little more than half of
the processor time of boto3's `invoke` (docs/reference/benchmarks.md). It uses the client's own
signature and connections, and with them its credentials and their refresh, Region, endpoint,
proxies, CA bundle and time-outs. It skips botocore's work for every call: validation, endpoint
rules, user agent, checksums, retries (the dispatcher has its own), parsing an empty answer.
"""

from __future__ import annotations

from http import HTTPStatus
from io import BytesIO
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

from botocore.awsrequest import AWSRequest
from botocore.exceptions import ClientError
from botocore.parsers import create_parser

from lambda_executor.core.routing import Target

if TYPE_CHECKING:
    from mypy_boto3_lambda import LambdaClient


def invoke_event(client: LambdaClient, target: Target, payload: BytesIO) -> None:
    """Send one payload to a function, asynchronously.

    The payload is read as it is sent. Before that its position is its start, so that after an error
    the position shows whether the request can have been complete.

    Raises:
        ClientError: Lambda did not accept the event.
        BotoCoreError: There are no credentials, or no connection.
    """
    untyped: Any = client  # The stubs lack the attributes below, some of which are private.
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
    # Listeners to boto3's calls (moto, tracers) are notified of this one too, and may answer it.
    _, answer = untyped.meta.events.emit_until_response(
        "before-send.lambda.Invoke", request=prepared
    )
    if answer is None:
        answer = send(prepared)
    # https://docs.aws.amazon.com/lambda/latest/api/API_Invoke.html
    if answer.status_code != HTTPStatus.ACCEPTED:
        raise ClientError(_parsed(untyped, answer), "Invoke")


def _invoke_event_stock(client: Any, target: Target, payload: BytesIO) -> None:  # noqa: ANN401 - see above
    qualifier = {"Qualifier": target.qualifier} if target.qualifier else {}
    tenant = {"TenantId": target.tenant} if target.tenant else {}
    answer = client.invoke(
        FunctionName=target.function, InvocationType="Event", Payload=payload, **qualifier, **tenant
    )
    # The connection can only be reused after its answer was read.
    answer["Payload"].read()


def _path(target: Target) -> str:
    path = f"/2015-03-31/functions/{quote(target.function, safe='')}/invocations"
    return f"{path}?Qualifier={quote(target.qualifier, safe='')}" if target.qualifier else path


def _parsed(client: Any, answer: Any) -> Any:  # noqa: ANN401 - see above
    return create_parser("rest-json").parse(
        {"status_code": answer.status_code, "headers": answer.headers, "body": answer.content},
        client.meta.service_model.operation_model("Invoke").output_shape,
    )
