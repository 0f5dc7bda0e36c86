"""The reference pages are what the code says today."""

from __future__ import annotations

from pathlib import Path

from lambda_executor import options

DOCS = Path(__file__).parents[2] / "docs"


def test_the_page_of_the_options_is_fresh() -> None:
    """`make docs` would change nothing."""
    assert (DOCS / "reference" / "options.md").read_text() == options.as_markdown()
