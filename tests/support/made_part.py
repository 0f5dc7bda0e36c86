"""The parts of a page that are made from a file, between two lines that name it."""

from __future__ import annotations

END = "<!-- end of what is made -->\n"


def with_part(page: str, source: str, made: str) -> str:
    """Return the page with what is made from `source` replaced by `made`.

    Raises:
        ValueError: The page has no place for it.
    """
    begin = f"<!-- made from {source} -->\n"
    before, found, rest = page.partition(begin)
    _, ended, after = rest.partition(END)
    if not found or not ended:
        raise ValueError(f"The page has no place for what is made from {source}: {begin}{END}")
    return f"{before}{begin}\n{made.strip()}\n\n{END}{after}"
