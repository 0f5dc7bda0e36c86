"""One decoder of what comes from outside, and the rule that every input is checked against."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
CORPUS = ROOT / "tests" / "fuzz" / "corpus"
GOLDEN = ROOT / "tests" / "contract" / "golden"


class NotJsonError(Exception):
    """The input is no JSON where somebody else, such as Lambda's runtime, has already read it."""


@dataclass(frozen=True, slots=True)
class Decoder:
    """A decoder, as the fuzzer and the tests call it.

    Attributes:
        name: Its name, which is also that of its folder in the corpus.
        read: Takes any bytes. It may return anything; what it raises beside `allowed` is a fault
            of the product. It also checks what has to be true of the value that it has read.
        allowed: The errors by which the product refuses an input.
        examples: Valid inputs, from which others are made.
        bytes_per_byte: Memory that it may take for each byte of an input. A value of JSON takes up
            to 60 bytes in Python (`[]` and a place in a list), in some decoders twice.
    """

    name: str
    read: Callable[[bytes], object]
    allowed: tuple[type[BaseException], ...]
    examples: tuple[bytes, ...]
    bytes_per_byte: int = 250

    @property
    def corpus(self) -> Path:
        """The folder with the inputs that fuzzing has kept."""
        return CORPUS / self.name

    def check(self, data: bytes) -> bool:
        """Read an input, and return whether it was taken.

        Raises:
            Exception: The product has failed in a way that it does not document.
        """
        try:
            self.read(data)
        except self.allowed:
            return False
        return True


def text_of(data: bytes) -> str:
    """Any text: bytes that are not UTF-8 become halves of surrogate pairs, as JSON may hold."""
    return data.decode(errors="surrogateescape")


def json_of(data: bytes) -> Any:
    """The JSON value that somebody else has read already.

    Raises:
        NotJsonError: It is none.
    """
    try:
        return json.loads(data)
    except (ValueError, RecursionError) as e:
        raise NotJsonError from e


def object_of(data: bytes) -> dict[str, Any]:
    """The JSON object that somebody else has read already.

    Raises:
        NotJsonError: It is none.
    """
    value = json_of(data)
    if not isinstance(value, dict):
        raise NotJsonError
    return value


def texts_of(data: bytes) -> dict[str, str]:
    """The texts by name that somebody else has read already, such as options or variables.

    Raises:
        NotJsonError: It is no object of texts.
    """
    values = object_of(data)
    if not all(isinstance(value, str) for value in values.values()):
        raise NotJsonError
    return values


def dumped(*values: object) -> tuple[bytes, ...]:
    """Examples from values."""
    return tuple(json.dumps(value).encode() for value in values)


def golden(*names: str) -> tuple[bytes, ...]:
    """Examples from golden files."""
    return tuple((GOLDEN / name).read_bytes().strip() for name in names)
