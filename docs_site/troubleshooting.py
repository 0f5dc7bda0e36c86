"""Writes docs/troubleshooting/: what each error means, from errors.toml and the product's texts.

It also writes the table by which the product finds the section about an error that it prints.
`python -m docs_site.troubleshooting`, which `make docs` runs.
"""

from __future__ import annotations

import json
import re
import tomllib
from collections import defaultdict
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from docs_site.messages import EXECUTOR, ROOT, Message, messages

FOLDER = ROOT / "docs" / "troubleshooting"
TABLE = Path(__file__).with_name("errors.toml")
#: What the product reads, see lambda_executor/contract/help.py.
SECTIONS = ROOT / EXECUTOR / "contract" / "help.json"

_VALUE = re.compile(r"<[^<>]*>")
#: A text none of whose parts is longer, such as `<name> is <state> and <status>`, is not told from
#: any other sentence.
_SHORTEST_PART = 5


@dataclass(frozen=True, slots=True)
class Entry:
    """What some texts of the product mean.

    Attributes:
        title: A heading, from which its anchor is made; empty: the texts are no errors.
        texts: Parts of the texts.
        files: Files and folders, all texts of which it takes that no other entry names.
        means: What has happened.
        fix: What to do.
    """

    title: str
    texts: tuple[str, ...]
    files: tuple[str, ...] = ()
    means: str = ""
    fix: str = ""

    def fit(self, message: Message) -> tuple[int, int]:
        """Return how well it fits a text: by the text itself first, else by its file; (0, 0): not.

        The longer part or path fits better.
        """
        by_text = max((len(part) for part in self.texts if part in message.text), default=0)
        by_file = max(
            (len(path) for path in self.files if message.file.startswith(path)), default=0
        )
        return by_text, by_file


@dataclass(frozen=True, slots=True)
class Page:
    """One page, about a place where people meet errors."""

    id: str
    title: str
    intro: str
    entries: tuple[Entry, ...]


def pages() -> tuple[Page, ...]:
    """Return the pages of the table."""
    return tuple(
        Page(page["id"], page["title"], page["intro"].strip(), tuple(map(_entry, page["entry"])))
        for page in _table()["page"]
    )


def not_errors() -> Entry:
    """Return the entry of what is no error, or a part of another text."""
    return Entry("", tuple(_table()["not_errors"]["texts"]))


def entries() -> tuple[Entry, ...]:
    """Return all entries."""
    return (not_errors(), *(entry for page in pages() for entry in page.entries))


def entries_of(message: Message, among: Iterable[Entry]) -> list[Entry]:
    """Return the entries that fit a text best: one, if the table is right."""
    fits = [(entry.fit(message), entry) for entry in among]
    best = max((fit for fit, _ in fits), default=(0, 0))
    return [entry for fit, entry in fits if fit == best and any(best)]


def as_markdown() -> dict[str, str]:
    """Return the text of every file of the folder, by its name."""
    texts = _texts()
    written = {f"{page.id}.md": "\n".join(_page(page, texts)) for page in pages()}
    return {"index.md": "\n".join(_index()), **written}


def as_json() -> str:
    """Return the text of `SECTIONS`: for each section the parts of its texts, a text in a line."""
    texts = _texts()
    sections = {
        section(page, entry): sorted({parts for m in texts[entry] for parts in recognised(m)})
        for page in pages()
        for entry in page.entries
    }
    members = (
        f"{json.dumps(name)}: {_lines(map(json.dumps, found), '[]')}"
        for name, found in sections.items()
        if found
    )
    return f"{_lines(members, '{}')}\n"


def section(page: Page, entry: Entry) -> str:
    """Return the file and anchor of an entry, from the folder of the pages."""
    return f"{page.id}.md#{anchor(entry.title)}"


def recognised(message: Message) -> Iterator[tuple[str, ...]]:
    """Yield how a text is recognised, as its parts between values: as it is, and with its fix.

    Not if it could be anybody's sentence.
    """
    with_fix = [f"{message.text}: {message.fix}"] if message.fix else []
    for text in (message.text, *with_fix):
        parts = tuple(_VALUE.split(text))
        if max(len(part.strip()) for part in parts) > _SHORTEST_PART:
            yield parts


def _lines(members: Iterable[str], brackets: str) -> str:
    """Join the members of a JSON list or object, each in lines of its own."""
    return "\n".join((brackets[0], ",\n".join(members), brackets[1]))


def _texts() -> dict[Entry, list[Message]]:
    """Return the messages of each entry."""
    texts: defaultdict[Entry, list[Message]] = defaultdict(list)
    table = entries()
    for message in messages():
        for entry in entries_of(message, table):
            texts[entry].append(message)
    return texts


def main() -> None:
    """Write the folder, remove what is not part of it any more, and write the product's table."""
    SECTIONS.write_text(as_json(), encoding="utf-8")
    FOLDER.mkdir(exist_ok=True)
    written = as_markdown()
    for file in FOLDER.glob("*.md"):
        if file.name not in written:
            file.unlink()
    for name, text in written.items():
        (FOLDER / name).write_text(text, encoding="utf-8")


def _entry(row: dict[str, Any]) -> Entry:
    files = tuple(row.get("files", ()))
    means, fix = (" ".join(row[name].split()) for name in ("means", "fix"))
    return Entry(row["title"], tuple(row["texts"]), files, means, fix)


def _table() -> dict[str, Any]:
    return tomllib.loads(TABLE.read_text(encoding="utf-8"))


def _index() -> Iterator[str]:
    yield "# Troubleshooting by error text"
    yield ""
    yield _GENERATED
    yield ""
    yield _INTRO
    for page in pages():
        yield ""
        yield f"## {page.title}"
        yield ""
        yield from (f"- [{e.title}]({section(page, e)})" for e in page.entries)
    yield ""


def _page(page: Page, texts: dict[Entry, list[Message]]) -> Iterator[str]:
    yield f"# {page.title}"
    yield ""
    yield _GENERATED
    yield ""
    yield page.intro
    for entry in page.entries:
        yield ""
        yield f"## {entry.title}"
        yield ""
        yield entry.means
        yield ""
        yield f"**What to do:** {entry.fix}"
        yield ""
        for message in texts[entry]:
            yield f"- {_code(message.text)}"
            if message.fix:
                yield f"  fix: {_code(message.fix)}"
    yield ""


def anchor(title: str) -> str:
    """Return the anchor that GitHub and the site give to a heading."""
    kept = "".join(c for c in title.lower() if c.isalnum() or c in "-_ ")
    return kept.replace(" ", "-")


def _code(text: str) -> str:
    """Return a text as code, whatever backticks it has."""
    return f"`` {text} ``" if "`" in text else f"`{text}`"


_INTRO = """\
Paste a part of the text into the search of the documentation site (`make site-serve`), or look for
it below. In the texts, `<name>` stands for a value, and some are parts of a longer text. For an
alarm see the [runbook](../howto/runbook.md); if you have no text at all, ask
[the doctor](../howto/doctor.md): `airflow lambda-executor check`."""
_GENERATED = "Generated from the product's texts and `docs_site/errors.toml` by `make docs`."


if __name__ == "__main__":
    main()
