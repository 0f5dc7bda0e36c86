"""Texts from outside, made harmless for a terminal and for a log.

They come from AWS and from messages that a function's role may send: they must not move the cursor,
begin lines of their own or reverse the rest of a line.
"""

from __future__ import annotations


def visible(text: str) -> str:
    r"""Write out every character that is not printable, such as ESC as `\x1b`."""
    if text.isprintable():  # Most are, and it is asked of each field of each result.
        return text
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)


def one_line(text: str) -> str:
    """Do the same, with one space for each line break and other white space."""
    return visible(" ".join(text.split()))
