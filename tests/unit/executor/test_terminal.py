"""What the commands write to a terminal."""

from __future__ import annotations

import fcntl
import io
import os
import struct
import termios
from collections.abc import Callable, Iterator
from typing import TextIO

import pytest

from lambda_executor.contract.errors import DatabaseError
from lambda_executor.contract.help import help_link
from lambda_executor.contract.visible import visible
from lambda_executor.ops.terminal import Say, columns, watch


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("plain, with ümläuts and 日本", "plain, with ümläuts and 日本"),
        ("\x1b[2J\x1b]0;title\x07", r"\x1b[2J\x1b]0;title\x07"),
        ("\x9b2J", r"\x9b2J"),  # The same in one character.
        ("one\ntwo\rthree\tfour", r"one\ntwo\rthree\tfour"),
        ("\u202egnp.exe", r"\u202egnp.exe"),  # Turns the rest of the line around.
        ("a\u2028b", r"a\u2028b"),
        ("\x00\x7f", r"\x00\x7f"),
    ],
)
def test_control_characters_are_shown_and_not_sent_to_the_terminal(text: str, shown: str) -> None:
    """A message can neither move the cursor, nor start a line of its own, nor hide a part."""
    assert visible(text) == shown


def test_a_row_fits_a_terminal_of_80_columns(monkeypatch: pytest.MonkeyPatch) -> None:
    """Words are wrapped below the third column; a message's newline starts no line."""
    monkeypatch.setenv("COLUMNS", "80")
    rows = columns("PROBLEM", "results queue", "airflow: " + "ten words\n" * 20)
    assert len(rows) > 2
    assert all(len(row) <= 80 for row in rows)
    assert rows[0].startswith("PROBLEM  results queue      airflow:")
    assert all(row.startswith(" " * 28) for row in rows[1:])


def test_a_name_longer_than_the_line_stays_whole(monkeypatch: pytest.MonkeyPatch) -> None:
    """Somebody has to be able to copy it."""
    monkeypatch.setenv("COLUMNS", "80")
    arn = "arn:aws:sqs:eu-west-1:123456789012:" + "q" * 80
    assert any(arn in row for row in columns("OK", "dead letters", f"go to {arn}"))


def test_a_text_that_is_printable_is_not_made_again() -> None:
    """It is asked of several fields of each result, and nearly all of them are printable."""
    text = "process exited with code 1, killed by SIGKILL: größer"
    assert visible(text) is text


class Stopped:
    """Waits a few times, and is then interrupted as by Ctrl-C."""

    def __init__(self, times: int) -> None:
        self.waited: list[float] = []
        self._times = times

    def __call__(self, seconds: float) -> None:
        """Wait, or be interrupted."""
        self.waited.append(seconds)
        if len(self.waited) == self._times:
            raise KeyboardInterrupt


def test_a_watch_appends_where_there_is_no_terminal() -> None:
    """Each block has its time; a failure is one of them, and ends nothing."""
    away = "Airflow's database cannot be read (away): run this where the scheduler runs, with the "
    away += "same [database] sql_alchemy_conn"
    said, wait, failures = io.StringIO(), Stopped(4), [None, "no way", None, away]

    def draw(say: Callable[..., None]) -> None:
        if (failure := failures.pop(0)) is not None:
            raise DatabaseError(failure)
        say("a row", "another\x1b[2J")

    watch(Say(said), draw, 5, append=False, wait=wait)
    blocks = said.getvalue().split("\n\n")
    assert [block.splitlines()[1:] for block in blocks] == [
        ["a row", r"another\x1b[2J"],
        ["PROBLEM                     no way"],
        ["a row", r"another\x1b[2J"],
        [*columns("PROBLEM", "", away), f"{' ' * 28}{help_link(away)}"],
    ]
    assert all(" UTC, every 5 s" in block for block in blocks)
    assert help_link(away)
    assert wait.waited == [5, 5, 5, 5]


def test_a_watch_of_json_has_nothing_but_json() -> None:
    """One document after the other, for a program; a failure ends the command."""
    said = io.StringIO()
    watch(Say(said), lambda say: say("{}"), 5, append=True, wait=Stopped(2))
    assert said.getvalue() == "{}\n{}\n"

    def draw(_: object) -> None:
        raise DatabaseError("no way")

    with pytest.raises(DatabaseError):
        watch(Say(said), draw, 5, append=True, wait=Stopped(2))


@pytest.fixture
def terminal() -> Iterator[tuple[TextIO, int]]:
    """A terminal of 80 columns and 6 rows, and what reads its output."""
    reader, writer = os.openpty()
    fcntl.ioctl(writer, termios.TIOCSWINSZ, struct.pack("HHHH", 6, 80, 0, 0))
    with open(writer, "w", encoding="utf-8") as answers:  # noqa: PTH123 - a descriptor
        yield answers, reader
    os.close(reader)


def test_on_a_terminal_the_last_lines_are_replaced(terminal: tuple[TextIO, int]) -> None:
    """The cursor goes home each time; what is too long or too much does not scroll."""
    answers, reader = terminal
    say = Say(answers)
    say.redraw("a" * 100)
    say.redraw(*(f"row {number}" for number in range(9)))
    say.stop_drawing()
    shown = ""
    while not shown.endswith("\r\x1b[K"):  # A terminal passes it on in pieces.
        shown += os.read(reader, 10_000).decode()
    first, second = shown.replace("\r\n", "\n").split("\x1b[H", 2)[1:]
    assert first == f"\x1b[K{'a' * 80}\n\x1b[K{'a' * 20}\n\x1b[J"
    rows = "".join(f"\x1b[Krow {number}\n" for number in range(4))
    assert second == f"{rows}\x1b[K... 5 more lines\n\x1b[J\r\x1b[K"
