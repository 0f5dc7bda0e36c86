"""Shared by the fixes that check a request for more than one permission."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Any

from ministack import app
from ministack.core.responses import get_account_id
from ministack.core.router import extract_region

from local_aws.fixes._requests import operation, request_of


@dataclass(frozen=True, slots=True)
class Check:
    """A permission that a request needs.

    Attributes:
        context: Condition keys of the request.
    """

    action: str
    resource: str
    context: dict[str, str] = field(default_factory=dict)


#: The permissions of an operation, given its name, its request, and `<region>:<account>`.
Checks = Callable[[str, dict[str, Any], str], Iterable[Check]]


def also_check(service: Any, name: str, checks: Checks) -> None:  # noqa: ANN401 - a module
    """Refuse requests to one of ministack's services without these permissions, under `--auth`."""
    stock = service.handle_request

    async def handle_request(
        method: str, path: str, headers: dict[str, str], body: bytes, query: dict[str, Any]
    ) -> Any:  # noqa: ANN401 - ministack's answer
        scope = f"{extract_region(headers, query)}:{get_account_id()}"
        for check in checks(operation(path, headers), request_of(body), scope):
            denied = app._enforce_data_plane(
                name,
                check.action,
                headers,
                query,
                "",
                resource_arn=check.resource,
                service_context=check.context,
            )
            if denied:
                return denied
        return await stock(method, path, headers, body, query)

    service.handle_request = handle_request
