"""The tenant id of an invoke: checked, then passed to the data plane, which isolates tenants.

Follows https://docs.aws.amazon.com/lambda/latest/dg/tenant-isolation.html.
"""

from __future__ import annotations

import re
from functools import wraps
from typing import Any

from ministack.core.responses import error_response_json
from ministack.services import lambda_svc

from local_aws.on_ministack.front import exchange

#: The pattern in the API's model.
_TENANT_ID = re.compile(r"[a-zA-Z0-9\._:\/=+\-@ ]{1,256}")


def install() -> None:
    """Check the tenant id before ministack invokes."""
    stock = lambda_svc._invoke

    @wraps(stock)
    async def invoke(
        name: str,
        event: Any,  # noqa: ANN401 - any JSON
        headers: dict[str, str],
        *rest: Any,  # noqa: ANN401 - whatever ministack passes
        **named: Any,  # noqa: ANN401 - as above
    ) -> Any:  # noqa: ANN401 - ministack's response
        tenant_id = headers.get("x-amz-tenant-id", "")
        if reason := _refusal_reason(lambda_svc._functions.get(name), tenant_id):
            return error_response_json("InvalidParameterValueException", reason, 400)
        if (request := exchange.get()) is not None:
            request.tenant_id = tenant_id
        return await stock(name, event, headers, *rest, **named)

    lambda_svc._invoke = invoke


def _refusal_reason(record: dict[str, Any] | None, tenant_id: str) -> str | None:
    if record is None:
        return None
    tenancy = record["config"].get("TenancyConfig") or {}
    if tenancy.get("TenantIsolationMode") != "PER_TENANT":
        return (
            "The invoked function is not enabled with tenancy configuration. Remove the tenant ID "
            "from your request and try again."
            if tenant_id
            else None
        )
    if not _TENANT_ID.fullmatch(tenant_id):
        return (
            "The invoked function is enabled with tenancy configuration. Add a valid tenant ID in "
            "your request and try again."
        )
    return None
