"""The wire format of a probe and of its answer.

A probe is a JSON array on purpose. A handler that does not know probes, such as the reference's,
first looks for the keys of an object. It fails on an array before it runs or sends anything, and
that failure is an answer too.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

from lambda_executor.contract.errors import DecodeError

_HEAD = "lambda_executor probe"
_TEXTS = ("airflow", "python", "execution_api_url", "execution_api_error")
_NUMBERS = ("wire_version", "execution_api_ms")

#: The probe's event; both sides ignore what follows the head.
EVENT: bytes = json.dumps([_HEAD]).encode()


def is_probe(event: object) -> bool:
    """Whether the event that Lambda hands to the handler is a probe."""
    return isinstance(event, list) and event[:1] == [_HEAD]


@dataclass(frozen=True, slots=True)
class ProbeAnswer:
    """A function's answer."""

    airflow: str
    python: str
    wire_version: int
    execution_api_url: str  # Empty: it is not set.
    execution_api_error: str  # Why the API cannot be reached; empty: the API answered.
    execution_api_ms: float  # Until the API answered or failed.

    def encode(self) -> dict[str, object]:
        """Return the value that the handler returns."""
        return {_HEAD: asdict(self)}

    @classmethod
    def decode(cls, payload: bytes) -> ProbeAnswer:
        """Read a function's answer.

        Raises:
            DecodeError: The payload is not the answer to a probe.
        """
        try:
            answer = json.loads(payload)
        except (ValueError, RecursionError) as e:
            raise DecodeError("the answer to a probe is not JSON", payload) from e
        facts = answer.get(_HEAD) if isinstance(answer, Mapping) else None
        if not isinstance(facts, Mapping):
            raise DecodeError("not the answer to a probe", payload)
        values: dict[str, Any] = {name: facts.get(name) for name in (*_TEXTS, *_NUMBERS)}
        if not all(isinstance(values[name], str) for name in _TEXTS) or not all(
            isinstance(values[name], int | float) for name in _NUMBERS
        ):
            raise DecodeError("the answer to a probe lacks what it should tell", payload)
        return cls(**values)
