"""Secrets are found in every spelling that `docs/reference/handler.md` lists."""

from __future__ import annotations

import base64
import json
import re
import string
from collections.abc import Callable
from urllib.parse import quote

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lambda_image.logs.secrets import MIN_CHARS, Secrets, as_bytes

KEY = "/wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY=="

#: Text of the characters that AWS's credentials and JSON web tokens have.
values = st.text(string.ascii_letters + string.digits + "+/=-_.", min_size=MIN_CHARS, max_size=80)
surroundings = st.text("ab 1/\\\"'{}%+=:\u00e4", max_size=12)


def hexadecimal(form: str) -> Callable[[str], str]:
    """Escape all characters that are no letters or digits."""
    return lambda text: "".join(c if c.isalnum() else form % ord(c) for c in text)


def in_json(text: str) -> str:
    """The text as part of a JSON string."""
    return json.dumps(text)[1:-1]


def with_slashes_escaped(text: str) -> str:
    """JSON as PHP and many others write it."""
    return in_json(text).replace("/", "\\/")


SPELLINGS: dict[str, Callable[[str], str]] = {
    "plain": str,
    "escaped slashes": with_slashes_escaped,
    "escaped slashes, JSON in JSON": lambda text: in_json(with_slashes_escaped(text)),
    "unicode escapes": hexadecimal("\\u%04x"),
    "unicode escapes in capitals": hexadecimal("\\u%04X"),
    "unicode escapes, three times JSON": lambda text: in_json(
        in_json(hexadecimal("\\u%04x")(text))
    ),
    "escapes of bytes": hexadecimal("\\x%02x"),
    "URL-encoded": lambda text: quote(text, safe=""),
    "URL-encoded, but for slashes": quote,
    "URL-encoded in lower case": hexadecimal("%%%02x"),
    "URL-encoded twice": lambda text: quote(quote(text, safe=""), safe=""),
}


@pytest.mark.parametrize("spelled", SPELLINGS.values(), ids=SPELLINGS)
@given(value=values, before=surroundings, after=surroundings)
def test_a_spelled_secret_is_masked(
    spelled: Callable[[str], str], value: str, before: str, after: str
) -> None:
    """Nothing of the value is left, and what is around it stays as it was."""
    text = f"{before} {spelled(value)} {after}"
    assert Secrets(value).masked(text.encode()).decode() == f"{before} *** {after}"


@pytest.mark.parametrize("encode", [base64.b64encode, base64.urlsafe_b64encode])
@given(value=values, before=st.binary(max_size=9), after=st.binary(max_size=9))
def test_a_secret_in_base64_is_masked(
    encode: Callable[[bytes], bytes], value: str, before: bytes, after: bytes
) -> None:
    """Anywhere in the text, but for the bits that share a digit with the text around it."""
    masked = Secrets(value).masked(encode(before + value.encode() + after))
    assert masked.count(b"***") == 1
    assert len(masked) <= len("***") + len(encode(before + after)) + len("digits")


@given(value=values, before=surroundings, after=surroundings)
def test_masked_json_is_still_json(value: str, before: str, after: str) -> None:
    """A line of a log stays one JSON object."""
    line = json.dumps({"event": before + value + after}, ensure_ascii=False)
    assert json.loads(Secrets(value).masked(line.encode()))["event"].endswith(f"***{after}")


@given(text=st.binary(max_size=200))
def test_other_text_stays(text: bytes) -> None:
    """What holds no secret is not changed, and a short value is none."""
    assert Secrets(KEY, "short", "").masked(text) == text


@pytest.mark.parametrize("spelled", SPELLINGS.values(), ids=SPELLINGS)
@given(at=st.integers(0, 400))
def test_a_secret_across_a_cut_is_masked(spelled: Callable[[str], str], at: int) -> None:
    """No cut is in a secret: what may begin one stays with what follows."""
    text = f"{'x' * 100}{spelled(KEY)}{'y' * 100}".encode()
    secrets = Secrets(KEY)
    first, rest = secrets.cut(text[:at])
    assert secrets.masked(first) + secrets.masked(rest + text[at:]) == secrets.masked(text)


def test_a_long_secret_costs_nothing_in_a_line_that_is_too_short_for_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Its pattern takes seconds to compile, and every line may have its longest word, `a`."""
    found = Secrets("{'a': " * 10_000)

    def compiled(_: bytes) -> None:
        raise AssertionError("compiled")

    monkeypatch.setattr(re, "compile", compiled)
    assert found.masked(b"a line with a") == b"a line with a"


@pytest.mark.parametrize("value", ["\ud800 and text of a value", "a\udcff and text of a value"])
def test_a_secret_that_is_not_unicode_text_is_masked(value: str) -> None:
    """JSON can hold half of a surrogate pair, and a variable of the environment any bytes."""
    assert Secrets(value).masked(b"<" + as_bytes(value) + b">") == b"<***>"
