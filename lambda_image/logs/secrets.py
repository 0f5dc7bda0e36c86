"""Finds secrets in output, in the spellings in which programs print them.

`docs/reference/handler.md` lists the spellings. This protects against a secret that is printed by
accident: a task that wants to give one away can spell it in ways that nobody foresees.
"""

from __future__ import annotations

import base64
import re
from collections.abc import Iterator
from functools import cached_property

#: What a secret is replaced by.
MASK = b"***"

#: Shorter values are not secrets, and may be part of ordinary words.
MIN_CHARS = 16
#: Somebody calls a value a secret: as long as Airflow's own masker wants it to be.
#: https://airflow.apache.org/docs/apache-airflow/stable/configurations-ref.html#min-length-masked-secret
MIN_DECLARED_CHARS = 5

#: JSON within JSON doubles its backslashes: this allows for three levels.
_BACKSLASHES = rb"\\{%d,4}"
#: Text that was URL-encoded up to three times: `%2F`, `%252F`, `%25252F`.
_PERCENT = rb"%(?:25){0,2}"
#: The length of the longest spelling of one character: four backslashes and `u002f`.
_LONGEST = 9

#: The same digit in the two alphabets of base64.
#: https://datatracker.ietf.org/doc/html/rfc4648#section-5
_SAME_DIGIT = {b"+": b"+-", b"-": b"+-", b"/": b"/_", b"_": b"/_"}

_WORD = re.compile(rb"[A-Za-z0-9]+")


def as_bytes(text: str) -> bytes:
    """A text as it is printed; it may hold bytes that were no UTF-8, and what only JSON has."""
    try:
        return text.encode(errors="surrogateescape")
    except UnicodeEncodeError:  # Half of a surrogate pair, which no bytes stand for.
        return text.encode(errors="surrogatepass")


class Secrets:
    """Values that no output may hold."""

    def __init__(self, *values: str, least_chars: int = MIN_CHARS) -> None:
        self._spellings = [
            spelling
            for value in values
            if len(value) >= least_chars
            for spelling in _spellings(as_bytes(value))
        ]

    def and_(self, *values: str, least_chars: int = MIN_CHARS) -> Secrets:
        """These secrets and more."""
        more = Secrets(*values, least_chars=least_chars)
        more._spellings += self._spellings
        return more

    def masked(self, text: bytes) -> bytes:
        """The text without the secrets; what is masked in JSON leaves it valid."""
        for spelling in self._spellings:
            text = spelling.masked(text)
        return text

    def cut(self, text: bytes) -> tuple[bytes, bytes]:
        """Split unfinished text, masked, before an end that may be the beginning of a secret."""
        text = self.masked(text)
        longest = max((spelling.longest for spelling in self._spellings), default=0)
        at = max(0, len(text) - longest)
        return text[:at], text[at:]


class _Spelling:
    """One text whose letters and digits stand for themselves, and other characters in many ways."""

    def __init__(self, text: bytes, *, is_base64: bool = False) -> None:
        self._text = text
        self._is_base64 = is_base64
        words = _WORD.findall(text)
        self._landmark = max(words, key=len, default=b"")  # No output without it has the text.
        self.longest = sum(map(len, words)) + _LONGEST * (len(text) - sum(map(len, words)))

    def masked(self, text: bytes) -> bytes:
        may_be_there = len(text) >= len(self._text) and self._landmark in text
        return self._pattern.sub(MASK, text) if may_be_there else text

    @cached_property
    def _pattern(self) -> re.Pattern[bytes]:
        """Compiled when it is needed, which is almost never: 0.1 ms for each character."""
        return re.compile(b"".join(map(self._ways, self._text)))

    def _ways(self, code: int) -> bytes:
        char = bytes([code])
        if _WORD.fullmatch(char):
            return char
        same = _SAME_DIGIT.get(char, char) if self._is_base64 else char
        return b"(?:%s)" % b"|".join(_ways(each) for each in same)


def _ways(code: int) -> bytes:
    r"""The ways to write one character that is no letter or digit: `/`, `\/`, `\u002f`, `%2F`."""
    escaped = rb"%s(?:u00|x)(?i:%02x)" % (_BACKSLASHES % 1, code)
    in_url = rb"%s(?i:%02x)" % (_PERCENT, code)
    return b"|".join((_BACKSLASHES % 0 + re.escape(bytes([code])), escaped, in_url))


def _spellings(value: bytes) -> Iterator[_Spelling]:
    """The value itself, and what it is in base64, alone or anywhere in a longer text."""
    yield _Spelling(value)
    for before in range(3):
        digits = base64.b64encode(bytes(before) + value)
        # Six bits each: the first and the last may share their digit with what is around the value.
        first, end = -(-before * 8 // 6), (before + len(value)) * 8 // 6
        yield _Spelling(digits[first:end], is_base64=True)
