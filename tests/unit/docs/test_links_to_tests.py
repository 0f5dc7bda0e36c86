"""What the pages promise is linked to tests that are there: `docs/reference/promises.md`."""

from __future__ import annotations

import re

import pytest

from tests.unit.docs.test_links import FENCED, ROOT, is_dead, links, named_tests, pages

PROMISES = ROOT / "docs" / "reference" / "promises.md"
#: The path of a test that a page names, whether as a link or as code.
TEST = re.compile(r"(?:local_aws/)?tests/(?:\w+/)*test_\w+\.py")


def rows(page: str) -> list[list[str]]:
    """The cells of each row of the page's tables, without their heads."""
    lines = [line for line in FENCED.sub("", page).splitlines() if line.startswith("| ")]
    cells = [line.strip("| ").split(" | ") for line in lines]
    return [row for row in cells if row[0] != "promise"]


def is_test(link: str) -> bool:
    """Whether a link of the page leads to a test, a benchmark, or a module of them."""
    file, _, name = link.partition("#")
    path = (PROMISES.parent / file).resolve()
    if "tests" not in path.parts or not path.exists():
        return False
    return not name or name in named_tests(path.read_text())


def is_promise(link: str) -> bool:
    """Whether a link of the page leads to another page, which makes the promise."""
    return link.partition("#")[0].endswith(".md") and not is_dead(link, PROMISES)


def faults(row: list[str]) -> list[str]:
    """What a row lacks, if it is not a promise with its page and the tests that show it."""
    if len(row) != 2:
        return [f"two cells are needed: {row}"]
    promise, shown = row
    made, tests = links(promise), links(shown)
    found = [f"no page and section: {link}" for link in made if not is_promise(link)]
    found += [f"no test: {link}" for link in tests if not is_test(link)]
    if not made:
        found.append(f"no page makes this promise: {promise}")
    if not tests:
        found.append(f"no test shows this promise: {promise}")
    return found


def test_every_promise_names_its_page_and_its_tests() -> None:
    """Each row has a page that makes the promise, and at least one test, all of them there."""
    table = rows(PROMISES.read_text())
    assert len(table) > 60
    assert [fault for row in table for fault in faults(row)] == []


def test_no_promise_is_there_twice() -> None:
    """Who looks for one finds it in one place."""
    promises = [row[0] for row in rows(PROMISES.read_text())]
    assert sorted(set(promises)) == sorted(promises)


@pytest.mark.parametrize(
    "row",
    [
        "[It holds](../../README.md).",
        "It holds. | [a test](../../tests/unit/docs/test_links.py)",
        "[It holds](../../README.md). | believe it",
        "[It holds](../../README.md). | [the code](../../demo/paths.py)",
        "[It holds](../../README.md). | [a test](../../tests/unit/docs/test_links.py#test_nothing)",
        "[It holds](../../README.md). | [a test](../../tests/unit/docs/test_links.py#named_tests)",
        "[It holds](../../README.md). | [a test](../../tests/unit/docs/test_gone.py)",
        "[It holds](../../README.md#nowhere). | [a test](../../tests/unit/docs/test_links.py)",
    ],
)
def test_a_promise_that_is_not_shown_is_found(row: str) -> None:
    """Whatever is missing: the page, the test, or either of the two at the end of a link."""
    (found,) = rows(f"| promise | shown by |\n|---|---|\n| {row} |\n")
    assert faults(found)


def test_a_promise_that_is_shown_is_none_of_them() -> None:
    """A page with a section, a test by its name, and a module of tests."""
    folder = "../../tests/unit/docs"
    shown = f"[x]({folder}/test_links.py#test_a_dead_link_is_found), [y]({folder}/test_builds.py)"
    assert faults(["[It holds](../../README.md#deploy-it-to-an-account).", shown]) == []


@pytest.mark.parametrize("name", pages())
def test_every_test_that_a_page_names_is_there(name: str) -> None:
    """Also as code, which is no link."""
    named = set(TEST.findall((ROOT / name).read_text()))
    assert [path for path in sorted(named) if not (ROOT / path).is_file()] == []
