"""How the supervisor reads the output of a workload."""

from __future__ import annotations

import io
import socket
from collections.abc import Generator
from typing import cast

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lambda_image.logs import log_output
from lambda_image.logs.log_output import LogOutput
from lambda_image.runtime.task_output import MAX_LINE_BYTES, MAX_LINES, reader

KEY = b"wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY"

Lines = Generator[None, bytes | bytearray, None]


def read_all(chunks: list[bytes], *, of_text: bool = True, data: bytes = b"") -> list[bytes]:
    """Return the lines that the supervisor gets from these pieces."""
    lines: list[bytes] = []

    def forward_to_log() -> Lines:
        while True:
            lines.append(bytes((yield)))

    def documents() -> Lines:
        while True:
            lines.append(bytes((yield)))

    read, _ = reader(forward_to_log() if of_text else documents(), lambda _: None, data=data)
    pieces = Pieces([chunk for chunk in chunks if chunk])
    while read(cast("socket.socket", pieces)):
        pass
    return lines


class Pieces:
    """A socket that returns one piece per read, and then the end."""

    def __init__(self, pieces: list[bytes]) -> None:
        self._pieces = iter(pieces)

    def recv(self, size: int) -> bytes:
        """Read the next one."""
        piece = next(self._pieces, b"")
        assert len(piece) <= size
        return piece


@given(st.lists(st.binary(max_size=40), max_size=8), st.booleans())
def test_lines_are_whole_however_they_arrive(chunks: list[bytes], of_text: bool) -> None:
    """Each line comes once and in order, however the reads cut it."""
    written = b"".join(chunks)
    expected = [line + b"\n" for line in written.split(b"\n")]
    if written.endswith(b"\n") or not written:
        del expected[-1]
    assert read_all(chunks, of_text=of_text) == expected


def test_what_was_there_before_comes_first() -> None:
    """Bytes that Airflow has already read come first."""
    assert read_all([b"cond\nthird"], data=b"first\nse") == [b"first\n", b"second\n", b"third\n"]


def test_a_line_without_an_end_is_cut() -> None:
    """The buffer stays small, and nothing is lost."""
    lines = read_all([b"x" * 60_000] * 10)
    assert b"".join(lines).replace(b"\n", b"") == b"x" * 600_000
    assert max(map(len, lines)) <= 2 * MAX_LINE_BYTES


@pytest.mark.parametrize(("of_text", "most"), [(True, MAX_LINES), (False, 5000)])
def test_lines_of_a_burst_share_lines_of_the_log(of_text: bool, most: int) -> None:
    """Many lines of text are joined; documents are not."""
    lines = read_all([b"y\n" * 5000], of_text=of_text)
    assert len(lines) <= most
    assert b"".join(lines) == b"y\n" * 5000
    assert of_text or len(lines) == 5000


@pytest.fixture
def secret(monkeypatch: pytest.MonkeyPatch) -> None:
    """The key is one of the function's credentials."""
    output = LogOutput(io.BytesIO(), {"AWS_SECRET_ACCESS_KEY": KEY.decode()})
    monkeypatch.setattr(log_output, "_output", output)


@pytest.mark.usefixtures("secret")
@pytest.mark.parametrize("of_text", [True, False])
@pytest.mark.parametrize("at", range(0, len(KEY) + 4, 5))
def test_a_secret_is_masked_however_it_arrives(at: int, *, of_text: bool) -> None:
    """A secret in two pieces is one, in the last line without an end too."""
    written = b"key=" + KEY + b"\nkey=" + KEY
    chunks = [written[:at], written[at:-at], written[-at:]] if at else [written]
    assert read_all(chunks, of_text=of_text) == [b"key=***\n", b"key=***\n"]


@pytest.mark.usefixtures("secret")
@pytest.mark.parametrize("before_cut", range(0, len(KEY) + 2, 7))
def test_a_secret_where_a_line_is_cut_is_masked(before_cut: int) -> None:
    """The cut is not in the secret, and nothing else is lost."""
    filling = b"x" * (MAX_LINE_BYTES - before_cut)
    lines = read_all([filling, KEY, b"y" * 9])
    assert b"".join(lines).replace(b"\n", b"") == filling + b"***" + b"y" * 9


@pytest.mark.usefixtures("secret")
def test_a_line_cut_short_of_a_secret_stays_bounded() -> None:
    """What a cut keeps back, because it may begin a secret, is short."""
    lines = read_all([b"x" * 60_000] * 10)
    assert b"".join(lines).replace(b"\n", b"") == b"x" * 600_000
    assert max(map(len, lines)) <= 2 * MAX_LINE_BYTES
