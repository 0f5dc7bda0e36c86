"""Policy statements of a template, as the tests read them."""

from __future__ import annotations

from typing import Any

from tests.synth.assembly import Resource


def statements(resource: Resource) -> list[dict[str, Any]]:
    """Every policy statement anywhere in a resource."""
    found: list[dict[str, Any]] = []

    def walk(value: object) -> None:
        if isinstance(value, dict):
            if "Effect" in value and ("Action" in value or "NotAction" in value):
                found.append(value)
            for child in value.values():
                walk(child)
        elif isinstance(value, list):
            for child in value:
                walk(child)

    walk(resource.properties)
    return found


def listed(value: object) -> list[Any]:
    """Return a list; IAM writes a list of one as its item."""
    return value if isinstance(value, list) else [value]
