"""Invoke refuses an event that is too large or not JSON.

Lambda accepts 6 MB for a synchronous and 1 MB for an asynchronous invocation, and answers
InvalidRequestContentException to invalid JSON; ministack accepts any size and replaces invalid
JSON by `{}`.
"""

from __future__ import annotations

import json
from typing import Any

from ministack.core.responses import error_response_json
from ministack.services import lambda_svc

#: https://docs.aws.amazon.com/lambda/latest/dg/gettingstarted-limits.html
_MAX_BYTES = {"Event": 1024 * 1024}
_MAX_SYNCHRONOUS_BYTES = 6 * 1024 * 1024


def apply() -> None:
    """Check the body before ministack invokes."""
    stock = lambda_svc.handle_request

    async def handle_request(
        method: str, path: str, headers: dict[str, str], body: bytes, query: dict[str, Any]
    ) -> Any:  # noqa: ANN401 - whatever ministack answers
        if method == "POST" and path.endswith("/invocations"):
            kind = headers.get("x-amz-invocation-type", "RequestResponse")
            if refusal := _refusal(kind, body):
                return refusal
        return await stock(method, path, headers, body, query)

    lambda_svc.handle_request = handle_request


def _refusal(kind: str, body: bytes) -> Any:  # noqa: ANN401 - ministack's response
    limit = _MAX_BYTES.get(kind, _MAX_SYNCHRONOUS_BYTES)
    if len(body) > limit:
        return error_response_json(
            "RequestTooLargeException",
            f"{len(body)} byte payload is too large for the {kind} invocation type "
            f"(limit {limit} bytes)",
            413,
        )
    try:
        json.loads(body or b"{}")
    except ValueError as e:
        return error_response_json(
            "InvalidRequestContentException",
            f"Could not parse request body into json: {e}",
            400,
        )
    return None
