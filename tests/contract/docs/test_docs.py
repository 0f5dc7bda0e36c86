"""The reference pages are what the code says today."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from lambda_executor.contract import options_page
from lambda_executor.core import ledger, metrics

DOCS = Path(__file__).parents[3] / "docs"
GOLDEN = Path(__file__).parents[1] / "golden"


def test_the_page_of_the_options_is_fresh() -> None:
    """`make docs` would change nothing."""
    assert (DOCS / "reference" / "options.md").read_text() == options_page.as_markdown()


@pytest.mark.parametrize("name", sorted(path.name for path in GOLDEN.glob("*-1.json")))
def test_the_page_of_the_wire_shows_what_is_sent(name: str) -> None:
    """Its examples are the golden files of our own messages."""
    page = (DOCS / "reference" / "wire.md").read_text()
    examples = [json.loads(found) for found in re.findall(r"```json\n(.*?)```", page, re.DOTALL)]
    assert json.loads((GOLDEN / name).read_text()) in examples


def test_the_page_of_the_states_is_fresh() -> None:
    """`make docs` would change nothing."""
    assert (DOCS / "reference" / "invocation-states.md").read_text() == ledger.as_markdown()


def test_the_page_of_the_metrics_is_fresh() -> None:
    """`make docs` would change nothing."""
    assert (DOCS / "reference" / "metrics.md").read_text() == metrics.as_markdown()


def test_the_readme_links_every_how_to() -> None:
    """A page that the README does not name is not found."""
    readme = (DOCS.parent / "README.md").read_text()
    missing = [page.name for page in DOCS.glob("howto/*.md") if f"howto/{page.name}" not in readme]
    assert not missing
