"""The shell commands of every page are ones that bash can read."""

from __future__ import annotations

import re
import subprocess

import pytest

from tests.unit.docs.test_links import pages
from tests.unit.docs.test_snippets import all_blocks

SHELL = {"bash", "sh"}
#: What the reader replaces, such as `<queue>`.
PLACEHOLDER = re.compile(r"<[A-Za-z][\w .'-]*>")


def complaint(code: str) -> str:
    """Return what bash says about commands, which it reads and does not run."""
    filled_in = PLACEHOLDER.sub("word", code)
    read = subprocess.run(
        ["bash", "-n"], input=filled_in, capture_output=True, text=True, check=False, timeout=30
    )
    return read.stderr


@pytest.mark.parametrize("page", pages())
def test_bash_can_read_the_commands_of_a_page(page: str) -> None:
    """A reader who copies them gets no error of syntax."""
    wrong = [
        said
        for block in all_blocks()
        if block.page == page and block.language in SHELL and (said := complaint(block.code))
    ]
    assert wrong == []


def test_bash_complains_about_what_it_cannot_read() -> None:
    """So that the test above can fail."""
    assert complaint('for x in a b; do echo "$x"\n')
    assert not complaint('for x in a b; do echo "$x"; done\n')
    assert not complaint("aws sqs purge-queue --queue-url <its URL>\n")
