"""Every text of an error leads to its section, by the table that the product brings along."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

from docs_site import troubleshooting
from docs_site.messages import ROOT, messages
from docs_site.troubleshooting import entries, entries_of, pages, section
from lambda_executor.contract import help as help_
from tests.unit.docs.test_links import anchors
from tests.unit.project.files import read_toml

#: Texts without a word of their own: they could be anybody's sentence, so they have no link.
NOBODYS = {
    "<name> <what>. <log_tail>",
    "<name> is <state> and <status> (<status_reason>)",
    "<variable> has <reference> for <name>: <e>",
    "<version> is <version_state> and <version_status>",
}
TABLE = entries()
#: Every error with its section.
ALL = {
    message: f"{help_.PAGES}{section(page, entry)}"
    for message in messages()
    for entry in entries_of(message, TABLE)
    for page in pages()
    if entry in page.entries
}
#: An entry of the scheduler's log, which the link is put behind.
REASON = "Lambda gave up: Task timed out after 900.00 seconds"


def said(text: str, value: str) -> str:
    """A text as it is printed, with a value in each of its places."""
    return re.sub(r"<[^<>]*>", value, text)


@pytest.mark.parametrize("value", ["A-1", "'arn:aws:sqs:eu-west-1:123456789012:queue'"])
def test_every_text_leads_to_its_section(value: str) -> None:
    """With values in it and its fix behind it, as an error is printed."""
    wrong = {
        message.text: found
        for message, page in ALL.items()
        if message.text not in NOBODYS
        for whole in [f"{message.text}: {message.fix}" if message.fix else message.text]
        if (found := help_.help_page(said(whole, value))) != page
    }
    assert wrong == {}


def test_only_texts_without_a_word_of_their_own_have_no_section() -> None:
    """Whatever values they have."""
    assert {m.text for m in ALL if not any(troubleshooting.recognised(m))} == NOBODYS


def test_every_section_is_in_its_page() -> None:
    """Each heading is there once, or its anchor would lead to the first of two."""
    for page in pages():
        file = f"{help_.PAGES}{page.id}.md"
        headings = [troubleshooting.anchor(entry.title) for entry in page.entries]
        assert len(headings) == len(set(headings))
        assert set(headings) <= anchors((ROOT / file).read_text())


def test_the_products_table_is_fresh() -> None:
    """`make docs` would change nothing."""
    assert troubleshooting.SECTIONS.read_text() == troubleshooting.as_json()


@pytest.mark.parametrize(
    "text",
    [
        "",
        "anything at all",
        "The specified queue does not exist for this wsdl version.",  # AWS's words, and ours.
        "the pool is full and nobody waits",
        "the queue results is gone",
        "the upload failed: no space",
        "it has 3 replicas; none is ready",
        "\x00" * 10_000,
    ],
)
def test_a_text_of_somebody_else_has_no_section(text: str) -> None:
    """A short text of ours is not looked for within another sentence."""
    assert help_.help_page(text) == help_.help_link(text) == ""
    assert help_.with_link(text) == help_.with_page(text) == text


def test_a_text_is_found_within_a_longer_one_and_over_lines() -> None:
    """What could not be done stands before it, and a terminal has wrapped it."""
    text = "try 1 ended: the workload's process\n    was killed by the\tkernel: it needed 3 GB"
    assert help_.help_page(text).endswith("tasks.md#the-task-needed-more-memory")


def test_what_is_put_behind_a_text_can_be_taken_off_again() -> None:
    """Airflow's audit log has the reason with it, and the commands read the reason."""
    told = help_.with_link(REASON)
    assert told == f"{REASON} (see {help_.FILES}docs/troubleshooting/tasks.md#lambda-gave-up)"
    assert help_.without_link(told) == REASON
    assert help_.without_link(REASON) == REASON


@pytest.mark.parametrize("content", [None, "", "[", b"\xff"])
def test_without_its_table_an_error_is_printed_all_the_same(
    content: str | bytes | None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An installation may have lost it."""
    if content is not None:
        data = content if isinstance(content, bytes) else content.encode()
        (tmp_path / "help.json").write_bytes(data)
    monkeypatch.setattr(help_, "__file__", str(tmp_path / "help.py"))
    monkeypatch.setattr(help_, "_table", help_._table.__wrapped__)
    assert help_.with_link(REASON) == REASON


def test_the_table_is_read_with_the_first_error() -> None:
    """Not when the module is imported, which every process of Airflow does."""
    program = """
import lambda_executor.core.findings, lambda_executor.ops.terminal
from lambda_executor.contract import help
assert help._table.cache_info().currsize == 0
help.help_page("")
assert help._table.cache_info().currsize == 1
"""
    subprocess.run([sys.executable, "-c", program], check=True, timeout=120)


def test_the_address_is_that_of_the_repository() -> None:
    """In the site's configuration and in what PyPI shows of the wheels."""
    site = (ROOT / "mkdocs.yml").read_text()
    (repository,) = re.findall(r"repository: &repository !ENV \[REPOSITORY_URL, \"(.*)\"\]", site)
    assert f"{repository}/blob/main/" == help_.FILES
    for project in ("executor", "constructs", "local_aws"):
        urls = read_toml(ROOT / project / "pyproject.toml")["project"]["urls"]
        assert urls == {"Repository": repository, "Documentation": f"{repository}/tree/main/docs"}
