"""The frame of every chart, as SVG: size, colours, texts, and what is read aloud.

Every chart of this repository is drawn from the JSON or the model behind it, by `chart.py` (lines)
and `bars.py`. A library such as matplotlib fixes the colours when it draws; the same picture could
not follow the page's scheme (docs/decisions/0065-charts.md). The text is text, so that it can be
searched and read aloud, and the same input gives the same file.
"""

from __future__ import annotations

import math
import textwrap
from collections.abc import Iterable
from xml.sax.saxutils import escape

#: Narrow, so that the text is still 10 px high on a phone; the left side of titles and keys.
WIDTH, EDGE = 480, 8.0
LINE_HEIGHT = 20
#: A character is at most so wide, on average.
CHARACTER = 8.2
_TITLE_CHARACTERS = 46
#: As many characters of a usual text as fit into a line.
_NOTE_CHARACTERS = 62

#: Colours of text, grid, lines and bars, by the page's scheme.
SCHEMES = {
    "light": {"page": "#ffffff", "text": "#1f2328", "grid": "#d1d9e0"},
    "dark": {"page": "#0d1117", "text": "#f0f6fc", "grid": "#3d444d"},
}
COLOURS = {
    "light": ("#0550ae", "#953800", "#1a7f37", "#8250df", "#bf3989", "#57606a", "#9a6700"),
    "dark": ("#58a6ff", "#f0883e", "#3fb950", "#bc8cff", "#f778ba", "#9198a1", "#d29922"),
}
#: Beside its colour each line has a pattern, for those who do not see all colours.
_PATTERNS = ("none", "none", "8 4", "8 4", "2 3", "2 3", "10 3 2 3")


def picture(title: str, description: str, height: float, body: Iterable[str]) -> str:
    """Return the file.

    Args:
        title: What `heading` draws.
        description: What the picture shows, for those who do not see it.
        height: Of the picture in pixels; its width is `WIDTH`.
        body: Its elements.
    """
    size = f'width="{WIDTH}" height="{height}" viewBox="0 0 {WIDTH} {height}"'
    elements = "\n".join([f'<rect class="page" width="{WIDTH}" height="{height}"/>', *body])
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" {size} role="img">\n'
        f"<title>{escape(title)}</title>\n<desc>{escape(description)}</desc>\n"
        f"<style>\n{_style()}</style>\n{elements}\n</svg>\n"
    )


def heading(title: str) -> list[str]:
    """Return the lines of a title, each of them `LINE_HEIGHT` high."""
    return [
        text(WIDTH / 2, 4 + LINE_HEIGHT * number, line, "middle", "title")
        for number, line in enumerate(textwrap.wrap(title, _TITLE_CHARACTERS), start=1)
    ]


def note(top: float, words: str) -> list[str]:
    """Return the lines of a remark below a chart, each of them `LINE_HEIGHT` high."""
    return [
        text(EDGE, top + LINE_HEIGHT * number - 6, line, "start", "note")
        for number, line in enumerate(textwrap.wrap(words, _NOTE_CHARACTERS), start=1)
    ]


def line(kind: str, start: tuple[float, float], end: tuple[float, float]) -> str:
    """Return a straight line of a class of the style."""
    (x1, y1), (x2, y2) = start, end
    return f'<line class="{kind}" x1="{x1:.1f}" y1="{y1:.1f}" x2="{x2:.1f}" y2="{y2:.1f}"/>'


def text(x: float, y: float, words: str, anchor: str, kind: str = "") -> str:
    """Return a line of text; `anchor` is an SVG `text-anchor`."""
    named = f' class="{kind}"' if kind else ""
    return f'<text{named} x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}">{escape(words)}</text>'


def number(value: float, digits: int = 4) -> str:
    """Return a number with so many digits that count, as people write it: 11,280 and 0.0361."""
    if not math.isfinite(value) or abs(value) >= 10**9:
        return f"{value:.{digits}g}"
    rounded = float(f"{value:.{digits}g}")
    return f"{rounded:,.0f}" if abs(rounded) >= 10 ** (digits - 1) else f"{rounded:.{digits}g}"


def _style() -> str:
    dark = f"@media (prefers-color-scheme: dark) {{\n{_colours('dark')}}}\n"
    patterns = "".join(
        f".line{style} {{ stroke-dasharray: {pattern}; }}\n"
        for style, pattern in enumerate(_PATTERNS)
        if pattern != "none"
    )
    lines = ", ".join(f".line{style}" for style in range(len(_PATTERNS)))
    return (
        "text { font: 14px sans-serif; }\n"
        ".title { font: bold 16px sans-serif; } .axis { font-weight: bold; }\n"
        ".note { font-size: 13px; }\n"
        f"line, polyline {{ fill: none; stroke-width: 1; }} {lines} {{ stroke-width: 2.5; }}\n"
        f".mark {{ stroke-dasharray: 4 4; }}\n{patterns}"
        f"{_colours('light')}{dark}"
    )


def _colours(scheme: str) -> str:
    colours = SCHEMES[scheme]
    rules = [
        f"text {{ fill: {colours['text']}; }}",
        f".page {{ fill: {colours['page']}; }}",
        f".grid {{ stroke: {colours['grid']}; }}",
        f".mark {{ stroke: {colours['text']}; }}",
        *(_of_style(style, colour) for style, colour in enumerate(COLOURS[scheme])),
    ]
    return "".join(f"{rule}\n" for rule in rules)


def _of_style(style: int, colour: str) -> str:
    return (
        f".line{style}, .mark.colour{style} {{ stroke: {colour}; }} "
        f".name{style}, .bar{style} {{ fill: {colour}; }}"
    )
