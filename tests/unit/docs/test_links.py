"""Every link of every page leads somewhere: to a file, a heading, a test, or out of here."""

from __future__ import annotations

import ast
import re
from collections import Counter
from pathlib import Path
from urllib.parse import urlsplit

import pytest

ROOT = next(folder for folder in Path(__file__).parents if (folder / "cdk.json").exists())
#: What other programs write into a checkout, besides what begins with a dot.
NOT_OURS = {"build", "cdk.out", "node_modules"}
FENCED = re.compile(r"^ *```.*?^ *```", re.DOTALL | re.MULTILINE)
CODE = re.compile(r"`[^`\n]+`")
#: An inline link or image, an address in angle brackets, the definition of a reference.
LINK = re.compile(
    r"\[[^\]]*\]\((?P<inline>[^)]*)\)|<(?P<bare>\w+:[^>]*)>|^\[[^\]]+\]:(?P<defined>.*)$",
    re.MULTILINE,
)
HEADING = re.compile(r"^#{1,6} (.+)$", re.MULTILINE)


def pages() -> list[str]:
    """Every Markdown file of the repository."""
    ours = [
        entry for entry in ROOT.iterdir() if entry.name[0] != "." and entry.name not in NOT_OURS
    ]
    found = [page for entry in ours for page in (entry, *entry.rglob("*")) if page.suffix == ".md"]
    return sorted(str(page.relative_to(ROOT)) for page in found)


def links(text: str) -> list[str]:
    """Where the links of a page lead; what is code has none."""
    prose = CODE.sub("", FENCED.sub("", text))
    return [next(filter(None, match.groups()), "").strip() for match in LINK.finditer(prose)]


def anchors(text: str) -> set[str]:
    """The anchors that GitHub gives to the headings of a page."""
    seen: Counter[str] = Counter()
    found = set()
    for heading in HEADING.findall(FENCED.sub("", text)):
        words = re.sub(r"\[([^\]]*)\]\([^)]*\)", r"\1", heading).lower()
        slug = re.sub(r"[^\w\- ]", "", words).replace(" ", "-")
        found.add(f"{slug}-{seen[slug]}" if seen[slug] else slug)
        seen[slug] += 1
    return found


def named_tests(program: str) -> set[str]:
    """The names of the tests in a file, which a link may name as if they were headings."""
    defined = (node.name for node in ast.parse(program).body if isinstance(node, ast.FunctionDef))
    return {name for name in defined if name.startswith("test_")}


def is_dead(link: str, page: Path) -> bool:
    """Whether a link of a page leads nowhere; nothing is asked of the network."""
    if re.search(r"\s", link) or not link:
        return True
    url = urlsplit(link)
    if url.scheme or url.netloc:
        return url.scheme not in ("http", "https") or not url.hostname
    path, _, anchor = link.partition("#")
    file = (page.parent / path).resolve() if path else page
    if not file.exists() or not file.is_relative_to(ROOT):
        return True
    if "#" not in link:
        return False
    if file.suffix == ".py":
        return anchor not in named_tests(file.read_text())
    return file.suffix != ".md" or anchor not in anchors(file.read_text())


@pytest.mark.parametrize("name", pages())
def test_every_link_leads_somewhere(name: str) -> None:
    """A file and a heading that are there, or an address of the web."""
    page = ROOT / name
    assert [link for link in links(page.read_text()) if is_dead(link, page)] == []


def test_anchors_are_those_that_github_makes() -> None:
    """Lower case, without punctuation, a hyphen for each space; what comes again is counted."""
    text = "# A `b[]`: c\n## The [link](x.md) - it's\n```\n# no heading\n```\n## c_d\n## c_d\n"
    assert anchors(text) == {"a-b-c", "the-link---its", "c_d", "c_d-1"}


def test_a_link_to_a_test_names_one_that_is_there() -> None:
    """A promise of a page that links the test which shows it."""
    here = Path(__file__).relative_to(ROOT)
    assert not is_dead(f"{here}#test_a_link_to_a_test_names_one_that_is_there", ROOT / "README.md")
    assert is_dead(f"{here}#named_tests", ROOT / "README.md")
    assert named_tests("class A:\n def test_a(self): pass\ndef test_b(): pass\ntest_c = 1") == {
        "test_b"
    }


@pytest.mark.parametrize(
    "dead",
    [
        "[x](A sentence.)",
        "[x]()",
        "[x](nowhere.md)",
        "![x](docs/images/nowhere.png)",
        "[x](../outside.md)",
        "[x](README.md#no-such-heading)",
        "[x](#no-such-heading)",
        "[x](tests/unit/docs/test_links.py#test_that_was_renamed)",
        "[x](tests/unit/docs/test_moved.py#test_a_link_to_a_test_names_one_that_is_there)",
        "[x](cdk.json#context)",
        "[x](https:///path)",
        "[x](htps://aws.amazon.com)",
        "<ftp://aws.amazon.com>",
        "[x]: nowhere.md",
    ],
)
def test_a_dead_link_is_found(dead: str) -> None:
    """Whatever its form, and whatever is wrong with it."""
    (link,) = links(f"Before it\n{dead}\nand after it, `[code](x.md)`.")
    assert is_dead(link, ROOT / "README.md")
