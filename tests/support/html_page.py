"""What an HTML page has in it, and what a browser would load for it."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass, field
from html.parser import HTMLParser
from typing import Any

_EMPTY = frozenset({"meta", "input", "br", "img", "link", "hr"})
#: Attributes that make a browser load something, or follow a link.
_ADDRESSES = frozenset({"src", "href", "srcset", "action", "data", "poster", "background"})


@dataclass
class Element:
    """One element with all text in it."""

    tag: str
    attributes: dict[str, str | None]
    text: str = ""

    def has(self, *classes: str) -> bool:
        """Whether it has all these classes."""
        return set(classes) <= set((self.attributes.get("class") or "").split())


@dataclass
class Page(HTMLParser):
    """A page, with its elements in the order in which they begin."""

    source: str
    elements: list[Element] = field(default_factory=list)
    _open: list[Element] = field(default_factory=list)

    def __post_init__(self) -> None:
        super().__init__()
        self.feed(self.source)
        self.close()
        assert self._open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """Begin an element."""
        element = Element(tag, dict(attrs))
        self.elements.append(element)
        if tag not in _EMPTY:
            self._open.append(element)

    def handle_endtag(self, tag: str) -> None:
        """End the innermost element, which must be of this tag."""
        assert self._open.pop().tag == tag

    def handle_data(self, data: str) -> None:
        """Add text to every open element."""
        for element in self._open:
            element.text += data

    def all(self, tag: str, *classes: str) -> list[Element]:
        """The elements of a tag that have all these classes."""
        return [each for each in self.elements if each.tag == tag and each.has(*classes)]

    def by_id(self, id: str) -> Element:
        """The one element of this id."""
        (found,) = [each for each in self.elements if each.attributes.get("id") == id]
        return found

    @property
    def data(self) -> Any:
        """The JSON that the page has in it."""
        return json.loads(self.by_id("data").text)

    @property
    def loads(self) -> list[str]:
        """Every address outside of the page."""
        found = [
            str(value)
            for element in self.elements
            for name, value in element.attributes.items()
            if name in _ADDRESSES and not str(value).startswith("#")
        ]
        code = "".join(each.text for each in self.all("style") + self.all("script"))
        styles = "".join(str(each.attributes.get("style")) for each in self.elements)
        return found + re.findall(
            r"url\(|@import|import\(|fetch\(|XMLHttpRequest|WebSocket|https?://", code + styles
        )
