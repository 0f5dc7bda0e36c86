"""Joins the pages of the repository to one site; mkdocs calls these functions while it builds.

The pages are written to be read in the repository, where a link leads to any of its files. On the
site a link that leaves `docs/` goes to the repository's own web pages. Some files outside `docs/`
become pages, and the decisions are listed.
"""

from __future__ import annotations

import os
import re
from pathlib import Path, PurePosixPath

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files
from mkdocs.structure.pages import Page

ROOT = Path(__file__).parents[1]
#: Files outside `docs/` that are pages of the site, by their place there.
ADDED = {
    "CHANGELOG.md": "changelog.md",
    "CONTRIBUTING.md": "contributing.md",
    "examples/README.md": "examples.md",
}
DECISIONS = "decisions/index.md"
#: How much more than others a folder or page counts in the search. Less, if it has a long text in
#: which every word comes somewhere.
_BOOSTS = {
    "troubleshooting": 3,
    "decisions": 0.5,
    "changelog.md": 0.5,
    "reference/imports.md": 0.3,
    "unproven.md": 0.3,
}
IFRAME_WORKER = "assets/javascripts/iframe-worker.js"

#: What is code, which is left alone, or the address of a link.
_CODE_OR_LINK = re.compile(
    r"^ *```.*?^ *```|(?P<ticks>`+)(?!`).+?(?<!`)(?P=ticks)(?!`)|(?<=\]\()(?P<link>[^)\s]+)(?=\))",
    re.DOTALL | re.MULTILINE,
)


def on_config(config: MkDocsConfig) -> MkDocsConfig:
    """List the decisions, in their order, at the end of the navigation."""
    if config.nav is None:
        raise ValueError("mkdocs.yml has no nav: write one")
    listed = [{_title(page): f"decisions/{page.name}"} for page in _decisions()]
    last = config.nav[-1]
    last["Decisions"] = [DECISIONS, *listed]
    return config


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Add the pages from outside `docs/`, the list of decisions and the script of the search."""
    for source, place in ADDED.items():
        text = (ROOT / source).read_text(encoding="utf-8")
        files.append(File.generated(config, place, content=_relinked(text, source, place, config)))
    rows = [f"- [{_title(page)}]({page.name})" for page in _decisions()]
    content = "\n".join(
        ["# Decisions", "", "Why things are as they are, one page each.", "", *rows]
    )
    files.append(File.generated(config, DECISIONS, content=content))
    script = ROOT / "node_modules" / "iframe-worker" / "shim" / "index.js"
    files.append(File.generated(config, IFRAME_WORKER, abs_src_path=str(script)))
    return files


def on_page_markdown(markdown: str, page: Page, config: MkDocsConfig, files: Files) -> str:
    """Lead links that leave `docs/` to the repository's web pages; rank the page in the search.

    Who pastes an error's text looks for what it means, not for why it was decided so.
    """
    del files  # mkdocs gives it by name.
    place = page.file.src_uri
    page.meta["search"] = {"boost": _BOOSTS.get(place, _BOOSTS.get(place.partition("/")[0], 1))}
    if place in ADDED.values() or place == DECISIONS:
        return markdown
    return _relinked(markdown, f"docs/{place}", place, config)


def _relinked(text: str, source: str, place: str, config: MkDocsConfig) -> str:
    """Return a page with its links rewritten; what is code stays as it is.

    Args:
        text: The page.
        source: Its file in the repository, to which its links are relative.
        place: Its file on the site.
        config: The site's.
    """

    def rewritten(found: re.Match[str]) -> str:
        link = found["link"]
        return _target(link, source, place, str(config.extra["repository"])) if link else found[0]

    return _CODE_OR_LINK.sub(rewritten, text)


def _target(link: str, source: str, place: str, repository: str) -> str:
    """Return where a link of a page leads on the site."""
    path, _, anchor = link.partition("#")
    if not path or re.match(r"[\w+.-]+:", path):
        return link
    file = os.path.normpath(PurePosixPath(source).parent / path)
    on_site = _place(file)
    if on_site is not None:
        relative = os.path.relpath(on_site, PurePosixPath(place).parent)
        return f"{relative}#{anchor}" if anchor else relative
    kind = "tree" if (ROOT / file).is_dir() else "blob"
    return f"{repository.rstrip('/')}/{kind}/main/{file}{_fragment(file, anchor)}"


def _place(file: str) -> str | None:
    """Return where a file of the repository is on the site, if it is there."""
    if file in ADDED:
        return ADDED[file]
    if file == "docs/decisions":
        return DECISIONS
    if file.startswith("docs/") and not (ROOT / file).is_dir():
        return file.removeprefix("docs/")
    return None


def _fragment(file: str, anchor: str) -> str:
    """Return the part of an address that shows a heading, or the line of a test that is named."""
    if not anchor or not file.endswith(".py"):
        return f"#{anchor}" if anchor else ""
    for number, line in enumerate((ROOT / file).read_text(encoding="utf-8").splitlines(), 1):
        if re.match(rf" *(async )?def {re.escape(anchor)}\(", line):
            return f"#L{number}"
    raise ValueError(f"{file} has no test {anchor}: correct the link")


def _decisions() -> list[Path]:
    return sorted((ROOT / "docs" / "decisions").glob("[0-9]*.md"))


def _title(page: Path) -> str:
    return page.read_text(encoding="utf-8").partition("\n")[0].removeprefix("# ").strip()
