"""How large a function's variables are: Lambda refuses more than 4 KB together."""

from __future__ import annotations

import json
from collections.abc import Mapping

import aws_cdk as cdk
from constructs import Construct

#: Lambda's error shows what it measures: the variables as one JSON object, without spaces.
#: https://docs.aws.amazon.com/lambda/latest/dg/gettingstarted-limits.html#function-configuration-deployment-and-execution
MOST_BYTES = 4096

#: A part that is known only at deploy counts as the longest that the constructs use: a queue's URL.
UNKNOWN_BYTES = 160

_LARGEST_SHOWN = 3


def check_variables(function: Construct, variables: Mapping[str, str]) -> None:
    """Fail the synthesis if the variables are too large for Lambda."""
    resolved = cdk.Stack.of(function).resolve(dict(variables))
    sizes = {name: _json_bytes(name) + _value_bytes(value) for name, value in resolved.items()}
    total = sum(sizes.values()) + 2 * len(sizes) + 1  # Colons, commas and braces.
    if total <= MOST_BYTES:
        return
    largest = sorted(sizes, key=lambda name: -sizes[name])[:_LARGEST_SHOWN]
    cdk.Annotations.of(function).add_error(
        f"the function's variables are {total} bytes, names and values together as JSON, and "
        f"Lambda allows {MOST_BYTES}. The largest are "
        f"{', '.join(f'{name} ({sizes[name]})' for name in largest)}. Parts that are known only "
        f"at deploy count {UNKNOWN_BYTES} bytes each. Remove or shorten some: put long values into "
        "one secret with several keys, into Airflow's variables, or into a file beside the DAGs"
    )


def _json_bytes(text: str) -> int:
    return len(json.dumps(text, ensure_ascii=False).encode())


def _value_bytes(value: object) -> int:
    """The bytes of a value with its quotes."""
    if isinstance(value, str):
        return _json_bytes(value)
    if isinstance(value, dict) and "Fn::Join" in value:
        separator, parts = value["Fn::Join"]
        inner = sum(_value_bytes(part) - 2 for part in parts)
        return inner + (len(parts) - 1) * (_json_bytes(separator) - 2) + 2
    return UNKNOWN_BYTES + 2
