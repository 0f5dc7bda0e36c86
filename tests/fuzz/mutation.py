"""Makes inputs that are almost valid: JSON is changed as a value, everything else as bytes.

The random numbers are given, so that hypothesis can shrink an input and the fuzzer can repeat one.
"""

from __future__ import annotations

import json
import random
import re
from collections.abc import Callable
from typing import Any

#: Values that code forgets: of another type, of a size that no other type holds, or no text.
EXTREMES: tuple[Any, ...] = (
    *(None, True, False, 0, -1, 2**63, -(2**63) - 1, 10**309, -(10**400), 0.5, -0.0, 1e308),
    *(float("nan"), float("inf"), -float("inf")),
    *("", "\0", "a\0b", "\ud800", "\udfff\ud800", "é", "\u202e", "\x1b[31m", " ", "\n", "%s{0}"),
    *("../../etc/passwd", "/", ".", "..", "NaN", "١٢", "1_0", "9" * 5000, "x" * 5000),
    *([], {}, [[]], [{}], {"": ""}, {"a": None}),
)

#: How deep a value may be nested: around the limit of Python's recursion, and far beyond.
DEPTHS = (3, 60, 200, 450, 900, 950, 970, 980, 985, 990, 995, 1100, 2000, 100_000)

_NUMBER = re.compile(rb"-?\d+")
_NUMBERS = (b"NaN", b"1e999", b"-1", b"9" * 320, b"9" * 4301, b"0x1", b"1.0", b"01", b"true")


def mutated(data: bytes, source: random.Random, most_bytes: int = 1 << 20) -> bytes:
    """Return a changed input of at most `most_bytes`."""
    for _ in range(source.choice((1, 1, 1, 2, 3))):
        try:
            data = _changed_json(data, source)
        except (ValueError, RecursionError):  # It is no JSON, or nested too deep for Python.
            data = _changed_bytes(data, source)
    return data[:most_bytes]


def _changed_json(data: bytes, source: random.Random) -> bytes:
    """Change JSON, one time of five as a text.

    Raises:
        ValueError: It is no JSON.
    """
    value = json.loads(data)
    if not source.randrange(5):
        return _changed_text(data, source)
    return _dumped(_changed_value(value, source), source)


def nested(depth: int, inner: str, source: random.Random) -> str:
    """Return the text of JSON that is nested so deep, around a text."""
    if source.random() < 0.5:
        return "[" * depth + inner + "]" * depth
    return '{"a":' * depth + inner + "}" * depth


def _changed_value(value: Any, source: random.Random) -> Any:
    """Change one place somewhere in a value."""
    is_deeper = bool(value) and isinstance(value, dict | list) and source.random() < 0.75
    if not is_deeper:
        return _other(value, source)
    if isinstance(value, list):
        at = source.randrange(len(value))
        return [
            *value[:at],
            *source.choice(
                [[_changed_value(value[at], source)]] * 3 + [[], [value[at], value[at]]]
            ),
            *value[at + 1 :],
        ]
    name = source.choice(list(value))
    changes: list[Callable[[], dict[str, Any]]] = [
        lambda: {**value, name: _changed_value(value[name], source)},
        lambda: {**value, name: _changed_value(value[name], source)},
        lambda: {key: each for key, each in value.items() if key != name},
        lambda: {**value, _name(name, source): value[name]},
        lambda: {**value, name: value[source.choice(list(value))]},
    ]
    return source.choice(changes)()


def _other(value: Any, source: random.Random) -> Any:
    """Return another value instead of one."""
    kinds: list[Callable[[], Any]] = [
        lambda: source.choice(EXTREMES),
        lambda: source.choice(EXTREMES),
        lambda: [value],
        lambda: {"a": value},
        lambda: str(value),
        lambda: json.dumps(value),
        lambda: _Nested(source.choice(DEPTHS)),
    ]
    if isinstance(value, str):
        kinds += [lambda: _changed_string(value, source)] * 4
    if isinstance(value, int | float):
        kinds += [lambda: -value, lambda: value * 10 ** source.choice((1, 9, 20, 305))]
    try:
        return source.choice(kinds)()
    except (OverflowError, ValueError):
        return source.choice(EXTREMES)


class _Nested:
    """Stands for a value that `json` could not write, because it is nested too deep."""

    def __init__(self, depth: int) -> None:
        self.depth = depth


def _dumped(value: Any, source: random.Random) -> bytes:
    holes: list[_Nested] = []

    def hole(found: Any) -> str:
        holes.append(found)
        return f"\x01{len(holes)}\x01"

    text = json.dumps(value, default=hole)
    for number, each in enumerate(holes, 1):
        text = text.replace(f'"\\u0001{number}\\u0001"', nested(each.depth, "0", source))
    return text.encode()


def _name(name: str, source: random.Random) -> str:
    """Return a key that is not the one of before, or looks like it."""
    others = (name + " ", name.upper(), "", "\0", "\ud800", "__class__", "x" * 300, "../" + name)
    return source.choice(others)


def _changed_string(text: str, source: random.Random) -> str:
    at = source.randint(0, len(text))
    inserted = source.choice(("\0", "\ud800", "/", "..", ":", "@", "\n", '"', "\\", "9" * 30, "é"))
    rest = text[at + source.choice((0, 0, 1, 4)) :]
    return text[:at] + inserted + rest if source.random() < 0.8 else text[:at] + rest


def _changed_text(data: bytes, source: random.Random) -> bytes:
    """Change the text of JSON in ways in which a value cannot be changed."""
    kind = source.randrange(4)
    if kind == 0 and (found := list(_NUMBER.finditer(data))):
        match = source.choice(found)
        return data[: match.start()] + source.choice(_NUMBERS) + data[match.end() :]
    if kind == 1 and data.startswith(b"{") and data != b"{}":  # Every key twice.
        return data[:-1] + b"," + data[1:]
    if kind == 2:
        return nested(source.choice(DEPTHS), text_or_zero(data), source).encode()
    return _changed_bytes(data, source)


def text_or_zero(data: bytes) -> str:
    """The text of an input, or a short one if it is none."""
    try:
        return data.decode()
    except UnicodeDecodeError:
        return "0"


def _changed_bytes(data: bytes, source: random.Random) -> bytes:
    kind = source.randrange(5)
    at = source.randint(0, len(data))
    if kind == 0:
        return data[:at]
    if kind == 1:
        end = min(len(data), at + source.randint(1, 16))
        return data[:at] + data[end:]
    if kind == 2:
        return data[:at] + source.randbytes(source.randint(1, 8)) + data[at:]
    if kind == 3:
        end = min(len(data), at + source.randint(1, 32))
        return data[:end] + data[at:end] * source.choice((1, 2, 50)) + data[end:]
    extreme = source.choice(EXTREMES)
    inserted = extreme if isinstance(extreme, str) else json.dumps(extreme)
    return data[:at] + inserted.encode(errors="surrogatepass") + data[at:]
