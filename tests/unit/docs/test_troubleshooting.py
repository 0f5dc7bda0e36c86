"""Every error of the product has an entry in `docs/troubleshooting/`, and no entry is left over."""

from __future__ import annotations

import ast

import pytest

from docs_site import messages as source
from docs_site import troubleshooting
from docs_site.messages import Message, messages
from docs_site.troubleshooting import Entry, entries, entries_of

#: A program with what is an error, and with what only looks like one.
PROGRAM = '''
"""A docstring that is long enough to be a sentence."""
raise ConfigError(f"the name is {name!r}", fix="set it to another", command="airflow config list")
raise RouteError("a %s of a %d is wrong")
log.warning("the queue %s cannot be read", queue)
log.info("all is well with the queue")
problem("function", "the function is paused now", "end the pause by hand", "aws lambda do this")
ok("function", "the function is not paused now")
word = "one two three four"
'''


def test_every_message_has_one_entry() -> None:
    """A new error without one is named here: add it to docs_site/errors.toml."""
    table = entries()
    wrong = {
        message.text: [entry.title or "not_errors" for entry in found]
        for message in messages()
        if len(found := entries_of(message, table)) != 1
    }
    assert wrong == {}


def test_every_part_of_an_entry_is_in_a_message() -> None:
    """What the product does not say any more is not explained either."""
    texts = [message.text for message in messages()]
    unused = [
        part
        for entry in entries()
        for part in entry.texts
        if not any(part in text for text in texts)
    ]
    assert unused == []


def test_every_entry_has_a_message() -> None:
    """An entry whose texts all belong to others explains nothing."""
    table = entries()
    used = {entry.title for message in messages() for entry in entries_of(message, table)}
    assert [entry.title for entry in table if entry.title not in used] == []


def test_the_pages_are_fresh() -> None:
    """`make docs` would change nothing."""
    written = {file.name: file.read_text() for file in troubleshooting.FOLDER.glob("*.md")}
    assert written == troubleshooting.as_markdown()


def test_every_text_of_an_error_is_found_in_the_source() -> None:
    """Errors, findings and warnings; not docstrings, other log lines or what is all right."""
    found = list(source._texts(ast.parse(PROGRAM), is_of_reasons=False))
    assert sorted(found) == [
        ("a <...> of a <...> is wrong", ""),
        ("the function is paused now", "end the pause by hand"),
        ("the name is <name>", "set it to another"),
        ("the queue <...> cannot be read", ""),
    ]


def test_where_reasons_are_made_every_sentence_is_found() -> None:
    """They are joined from parts, which no call shows."""
    found = dict(source._texts(ast.parse(PROGRAM), is_of_reasons=True))
    assert "one two three four" in found
    assert "all is well with the queue" not in found


@pytest.mark.parametrize(
    ("text", "file", "titles"),
    [
        ("the queue is full", "executor/a.py", ["text"]),
        ("the queue is full of letters", "executor/a.py", ["longer text"]),
        ("something else", "executor/a.py", ["file"]),
        ("something else", "executor/deep/a.py", ["deeper file"]),
        ("something else", "lambda_image/a.py", []),
    ],
)
def test_the_entry_that_fits_best_is_taken(text: str, file: str, titles: list[str]) -> None:
    """A text before a file, and the longer one of two."""
    table = [
        Entry("text", ("queue is full",)),
        Entry("longer text", ("queue is full of letters",)),
        Entry("file", (), ("executor/",)),
        Entry("deeper file", (), ("executor/deep/",)),
    ]
    found = entries_of(Message(text, "", file), table)
    assert [entry.title for entry in found] == titles
