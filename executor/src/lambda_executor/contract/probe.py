"""The wire format of a probe and of its answer.

A probe is a JSON array on purpose. A handler that does not know probes, such as the reference's,
first looks for the keys of an object. It fails on an array before it runs or sends anything, and
that failure is an answer too.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

from lambda_executor.contract.errors import DecodeError
from lambda_executor.contract.numbers import finite

_HEAD = "lambda_executor probe"
_TEXTS = ("airflow", "python", "execution_api_url", "execution_api_error")
_NUMBERS = ("wire_version", "execution_api_ms")

#: DAG files by the name of their bundle, each as its path below the bundle's folder.
DagFiles = Mapping[str, Sequence[str]]


def event(dag_files: DagFiles | None = None) -> bytes:
    """Return the event of a probe, which also asks for DAG files that the function lacks.

    A handler ignores what it does not know behind the head.
    """
    asked = {name: list(paths) for name, paths in (dag_files or {}).items()}
    return json.dumps([_HEAD, {"dag_files": asked}]).encode()


def is_probe(event: object) -> bool:
    """Whether the event that Lambda hands to the handler is a probe."""
    return isinstance(event, list) and event[:1] == [_HEAD]


def asked_dag_files(event: object) -> DagFiles:
    """Return the DAG files that a probe asks for; none for a probe that does not ask."""
    rest = event[1] if isinstance(event, list) and len(event) > 1 else None
    asked = rest.get("dag_files") if isinstance(rest, Mapping) else None
    if not isinstance(asked, Mapping):
        return {}
    return {
        str(name): [str(path) for path in paths]
        for name, paths in asked.items()
        if isinstance(paths, list)
    }


@dataclass(frozen=True, slots=True)
class BundleAnswer:
    """What a function knows about the files of one DAG bundle.

    Attributes:
        source: Where the function has the files from: the URI of a folder in S3, `image`, or
            `bundle` for a bundle that is fetched for each task.
        missing: The files among those asked for that it does not have.
        error: Why the files cannot be had; empty: they can.
    """

    source: str
    missing: tuple[str, ...] = ()
    error: str = ""

    @classmethod
    def of(cls, facts: object) -> BundleAnswer:
        """Read a part of an answer, of any shape."""
        known = facts if isinstance(facts, Mapping) else {}
        missing = known.get("missing")
        return cls(
            str(known.get("source", "")),
            tuple(map(str, missing)) if isinstance(missing, list) else (),
            str(known.get("error", "")),
        )


@dataclass(frozen=True, slots=True)
class ProbeAnswer:
    """A function's answer.

    Attributes:
        execution_api_url: Empty: it is not set.
        execution_api_error: Why the API cannot be reached; empty: the API answered.
        execution_api_ms: Milliseconds until the API answered or failed.
        execution_api_timeout_s: Seconds that a task waits for one answer of the API; 0: unknown,
            because the image is older than this value.
        bundles: By name, the bundles asked for that the function knows; None: the image is older
            than the question.
    """

    airflow: str
    python: str
    wire_version: int
    execution_api_url: str
    execution_api_error: str
    execution_api_ms: float
    execution_api_timeout_s: float = 0
    bundles: Mapping[str, BundleAnswer] | None = field(default=None)

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
            finite(values[name]) is not None for name in _NUMBERS
        ):
            raise DecodeError("the answer to a probe lacks what it should tell", payload)
        bundles = facts.get("bundles")
        return cls(
            **values,
            execution_api_timeout_s=finite(facts.get("execution_api_timeout_s")) or 0,
            bundles={str(name): BundleAnswer.of(each) for name, each in bundles.items()}
            if isinstance(bundles, Mapping)
            else None,
        )
