"""What the commands write to a terminal."""

from __future__ import annotations

import pytest

from lambda_executor.ops.terminal import columns, visible


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
