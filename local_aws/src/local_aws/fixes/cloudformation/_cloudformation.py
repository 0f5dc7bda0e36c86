"""Shared by the fixes that change how ministack's CloudFormation handles a resource type."""

from __future__ import annotations

import re
from collections.abc import Callable, Collection
from typing import Any

from ministack.services.cloudformation import provisioners

Properties = dict[str, Any]
#: Physical id, and the attributes for `Fn::GetAtt`.
Created = tuple[str, dict[str, Any]]


def handler(resource_type: str) -> dict[str, Any]:
    """The handler that ministack has for a resource type, to be changed in place."""
    found: dict[str, Any] = provisioners._RESOURCE_HANDLERS.setdefault(resource_type, {})
    return found


def after_create_and_update(
    resource_type: str, follow_up: Callable[[str, Properties, dict[str, Any]], Created]
) -> None:
    """Let `follow_up(physical_id, properties, attributes)` replace ministack's own answer."""
    found = handler(resource_type)
    create, update = found["create"], found["update"]

    def create_then(logical_id: str, properties: Properties, stack: str) -> Created:
        physical_id, attributes = create(logical_id, properties, stack)
        return follow_up(physical_id, properties, attributes)

    def update_then(
        physical_id: str,
        old: Properties,
        new: Properties,
        stack: str,
        *logical_id: str,
    ) -> Created:
        physical_id, attributes = update(physical_id, old, new, stack, *logical_id)
        return follow_up(physical_id, new, attributes)

    found.update(create=create_then, update=update_then)


def call(operation: Callable[..., Any], request: dict[str, Any] | bytes | str) -> str:
    """Call an operation of one of ministack's services and return its answer's text.

    Raises:
        ValueError: The operation failed; CloudFormation reports it as the resource's failure.
    """
    status, _headers, body = operation(request)
    text = body.decode() if isinstance(body, bytes) else str(body)
    if status >= 400:  # noqa: PLR2004 - HTTP
        raise ValueError(text)
    return text


def in_camel_case(value: Any, *, free: Collection[str]) -> Any:  # noqa: ANN401 - JSON
    """Properties as most JSON APIs write them: names begin with a small letter.

    Args:
        value: Properties, or a part of them.
        free: Properties whose content has names of the author's own, which stay.
    """
    if isinstance(value, dict):
        return {
            name[:1].lower() + name[1:]: inner if name in free else in_camel_case(inner, free=free)
            for name, inner in value.items()
        }
    if isinstance(value, list):
        return [in_camel_case(inner, free=free) for inner in value]
    return value


def element(xml: str, name: str) -> str:
    """The first value of an XML element in an answer.

    Raises:
        ValueError: There is none.
    """
    found = re.search(rf"<{name}>([^<]+)</{name}>", xml)
    if found is None:
        raise ValueError(f"ministack answered without {name}: {xml}")
    return found[1]
