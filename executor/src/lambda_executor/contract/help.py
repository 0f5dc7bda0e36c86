"""Finds the section of the documentation about the text of an error.

The doors where people meet errors print it: the command line, the doctor, Airflow's audit log, the
programs of a checkout. Exceptions know nothing of it. `help.json` has the texts of the product, and
is written by `make docs` (docs/decisions/0067-errors-print-their-link.md).
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Sequence
from functools import cache
from itertools import chain
from pathlib import Path
from typing import Final

#: Where people read the repository's files; `repository` in mkdocs.yml and the wheels' metadata
#: have the same address.
FILES: Final = "https://github.com/example/airflow-lambda/blob/main/"
#: The folder of the pages, in the repository and behind `FILES`.
PAGES: Final = "docs/troubleshooting/"

#: A text with fewer letters may be a part of a stranger's sentence, so it counts only if it is all
#: that was said, or all of a line. Each of its values is one word then, unless it begins with so
#: many letters.
_FOUND_ANYWHERE = 24
_BEGINS = 12
_WORD: Final = r"(?:'[^']*'|\S+)"
_BEFORE_THE_LINK: Final = " (see "


def help_page(text: str) -> str:
    """Return the file and section about a text, from the root of the repository; empty: none.

    Of several texts that it may be, the one counts with the most letters that are no value.
    Never raises: without its table there is no section.
    """
    said = {" ".join(some.split()) for some in (text, *text.splitlines())}
    found = (page for parts, page in _table() if any(_is_said(parts, each) for each in said))
    return next(found, "")


def help_link(text: str) -> str:
    """Return the address of the section about a text, for those who have no checkout; empty: none.

    As `help_page`.
    """
    return address(help_page(text))


def address(page: str) -> str:
    """Return the address of a file of the repository; of none, none."""
    return f"{FILES}{page}" if page else ""


def with_link(text: str) -> str:
    """Return a text, with the address of its section at the end if there is one."""
    link = help_link(text)
    return f"{text}{_BEFORE_THE_LINK}{link})" if link else text


def without_link(text: str) -> str:
    """Return what `with_link` was given, from what it returned."""
    bare, mark, _ = text.rpartition(f"{_BEFORE_THE_LINK}{FILES}")
    return bare if mark else text


def with_page(text: str) -> str:
    """Return a text, and in a line of its own the section about it, for those with a checkout."""
    page = help_page(text)
    return f"{text}\nSee {page}" if page else text


def _is_said(parts: Sequence[str], text: str) -> bool:
    """Whether a text has these parts in their order."""
    if _letters(parts) < _FOUND_ANYWHERE:
        if not (text.startswith(parts[0]) and text.endswith(parts[-1])):
            return False
        if len(parts[0]) < _BEGINS:
            return bool(re.fullmatch(_WORD.join(map(re.escape, parts)), text))
    at = 0
    for part in parts:
        at = text.find(part, at)
        if at < 0:
            return False
        at += len(part)
    return True


def _letters(parts: Sequence[str]) -> int:
    """How long the parts of a text are."""
    return sum(len(part.strip()) for part in parts)


@cache
def _table() -> tuple[tuple[Sequence[str], str], ...]:
    """Return the texts, as their parts between values, each with its section, the longest first."""
    try:
        table = json.loads(Path(__file__).with_suffix(".json").read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError):
        return ()  # An installation without it has errors all the same.
    rows: Iterator[tuple[Sequence[str], str]] = chain.from_iterable(
        ((parts, f"{PAGES}{section}") for parts in texts) for section, texts in table.items()
    )
    return tuple(sorted(rows, key=lambda row: -_letters(row[0])))
