"""An HTTP API is reached under its address, and leads through a VPC link to Cloud Map.

AWS looks up addresses and ports of the instances that are registered with the service. ministack
takes the service's ARN for a URL, keeps no header of an answer but its type, and names a host that
this machine cannot look up.
"""

from __future__ import annotations

import asyncio
import os
import urllib.error
import urllib.request
from collections.abc import Callable, Mapping
from typing import Any
from urllib.parse import urlencode

from ministack.services import apigateway, servicediscovery
from ministack.services.cloudformation import provisioners

from local_aws.fixes.cloudformation._cloudformation import Created, Properties

Answer = tuple[int, dict[str, str], bytes]

#: https://docs.aws.amazon.com/apigateway/latest/developerguide/http-api-quotas.html
_TIMEOUT_S = 30.0
#: Of the connection, not of the request or the answer.
_HOP_BY_HOP = frozenset({"connection", "content-length", "host", "keep-alive", "transfer-encoding"})


def apply() -> None:
    """Replace the address of an API, and what forwards to a Cloud Map service."""
    found = provisioners._RESOURCE_HANDLERS["AWS::ApiGatewayV2::Api"]
    for verb in ("create", "update"):
        found[verb] = _with_address(found[verb])
    stock = apigateway._invoke_http_proxy

    async def invoke(  # noqa: PLR0913, PLR0917 - ministack's
        integration: Mapping[str, Any],
        path: str,
        method: str,
        headers: Mapping[str, str],
        body: bytes,
        query: Mapping[str, Any],
    ) -> Answer:
        arn = integration.get("integrationUri", "")
        if ":servicediscovery:" not in arn:
            answer: Answer = await stock(integration, path, method, headers, body, query)
            return answer
        address = _instance(arn.rpartition("/")[2])
        if address is None:
            return 503, {"Content-Type": "application/json"}, b'{"message":"Service Unavailable"}'
        url = f"http://{address}{path}{'?' if query else ''}{urlencode(query, doseq=True)}"
        request = urllib.request.Request(url, data=body or None, method=method)
        for name, value in headers.items():
            if name.lower() not in _HOP_BY_HOP:
                request.add_header(name, value)
        return await asyncio.to_thread(_answer, request)

    apigateway._invoke_http_proxy = invoke


def _with_address(stock: Callable[..., Created]) -> Callable[..., Created]:
    def handle(*arguments: Properties | str) -> Created:
        api_id, attributes = stock(*arguments)
        host, port = os.environ["MINISTACK_HOST"], os.environ["GATEWAY_PORT"]
        scheme = apigateway._api_endpoint_scheme("HTTP")
        endpoint = f"{scheme}://{host}:{port}/_aws/execute-api/{api_id}"
        apigateway._apis[api_id]["apiEndpoint"] = endpoint
        return api_id, attributes | {"ApiEndpoint": endpoint}

    return handle


def _instance(service_id: str) -> str | None:
    """Address and port of an instance of a Cloud Map service; None: there is none."""
    for instance in servicediscovery._instances.get(service_id, {}).values():
        attributes = instance["Attributes"]
        return f"{attributes['AWS_INSTANCE_IPV4']}:{attributes['AWS_INSTANCE_PORT']}"
    return None


def _answer(request: urllib.request.Request) -> Answer:
    try:
        with urllib.request.urlopen(request, timeout=_TIMEOUT_S) as answer:  # noqa: S310 - http
            return answer.status, _headers(answer.headers), answer.read()
    except urllib.error.HTTPError as e:
        return e.code, _headers(e.headers), e.read()
    except OSError:
        return 503, {"Content-Type": "application/json"}, b'{"message":"Service Unavailable"}'


def _headers(headers: Any) -> dict[str, str]:  # noqa: ANN401 - an email message
    return {name: value for name, value in headers.items() if name.lower() not in _HOP_BY_HOP}
