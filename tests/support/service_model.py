"""Whether an answer of the embedded AWS has the form that botocore's model gives it."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any

import boto3
from botocore.model import ServiceModel

_KINDS: dict[str, type | tuple[type, ...]] = {
    "string": str,
    "integer": int,
    "long": int,
    "boolean": bool,
    "float": (int, float),
    "double": (int, float),
}


def assert_fits_model(
    service: str, operation: str, answer: Mapping[str, Any], *, absent: Collection[str] = ()
) -> None:
    """Check the members of an answer, their types and the values of enumerations.

    boto3 drops members that it does not know, so only names that it knows are checked.

    Args:
        service: As boto3 names it.
        operation: As the model names it.
        answer: As boto3 returns it.
        absent: Members that the model requires, and that AWS omits nevertheless.
    """
    loader = boto3.session.Session()._loader
    model = ServiceModel(loader.load_service_model(service, "service-2"), service)
    shape = model.operation_model(operation).output_shape
    assert shape is not None
    found = {name: value for name, value in answer.items() if name != "ResponseMetadata"}
    assert list(_faults(shape, found, operation, absent)) == []


def _faults(shape: Any, value: Any, path: str, absent: Collection[str]) -> list[str]:
    match shape.type_name:
        case "structure":
            missing = set(shape.required_members) - set(value) - set(absent)
            return [f"{path}.{name} is missing" for name in sorted(missing)] + [
                fault
                for name, inner in value.items()
                for fault in _faults(shape.members[name], inner, f"{path}.{name}", absent)
            ]
        case "list":
            return [
                fault
                for number, inner in enumerate(value)
                for fault in _faults(shape.member, inner, f"{path}[{number}]", absent)
            ]
        case "map":
            return [
                fault
                for name, inner in value.items()
                for fault in _faults(shape.value, inner, f"{path}[{name}]", absent)
            ]
        case kind:
            if not isinstance(value, _KINDS.get(kind, object)):
                return [f"{path} is {value!r}, no {kind}"]
            if getattr(shape, "enum", None) and value not in shape.enum:
                return [f"{path} is {value!r}, none of {shape.enum}"]
            return []
