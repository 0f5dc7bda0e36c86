"""Line charts as SVG, readable on a light and on a dark page, and on a phone.

Every chart of this repository is drawn here, from the JSON or the model behind it. A library such
as matplotlib fixes the colours when it draws; the same picture could not follow the page's scheme.
The text is text, so that it can be searched and read aloud, and the same input gives the same file.
"""

from __future__ import annotations

import math
import textwrap
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import accumulate
from xml.sax.saxutils import escape

#: Left side of titles and keys.
_EDGE = 8.0
#: Narrow, so that the text is still 10 px high on a phone; left and right of the plots.
_WIDTH, _LEFT, _RIGHT = 480, 62, 462
_PLOT_HEIGHT = 200
#: The height of a line of text, and of what is below the last plot: its labels and their title.
_LINE_HEIGHT, _FOOT = 20, 62
#: Above the title of a plot, and between its key and its upper end.
_GAP, _BELOW_KEY = 12, 14
_TITLE_CHARACTERS = 46
#: A character of the key is at most so wide; before each name is a piece of its line.
_CHARACTER, _SWATCH = 8.2, 30

#: Colours of text, grid and lines, by the page's scheme.
SCHEMES = {
    "light": {"page": "#ffffff", "text": "#1f2328", "grid": "#d1d9e0"},
    "dark": {"page": "#0d1117", "text": "#f0f6fc", "grid": "#3d444d"},
}
LINES = {
    "light": ("#0550ae", "#953800", "#1a7f37", "#8250df", "#bf3989", "#57606a", "#9a6700"),
    "dark": ("#58a6ff", "#f0883e", "#3fb950", "#bc8cff", "#f778ba", "#9198a1", "#d29922"),
}
#: Beside its colour each line has a pattern, for those who do not see all colours.
_PATTERNS = ("none", "none", "8 4", "8 4", "2 3", "2 3", "10 3 2 3")


@dataclass(frozen=True, slots=True)
class Line:
    """A line of a chart: its name and its points, from left to right.

    Attributes:
        style: The number of its colour and pattern; None: its place among the lines of its plot.
    """

    name: str
    points: Sequence[tuple[float, float]]
    style: int | None = None


@dataclass(frozen=True, slots=True)
class Mark:
    """A vertical line at one value, with what it means."""

    at: float
    text: str


@dataclass(frozen=True, slots=True)
class Axis:
    """An axis from 0: its title, and the values that have a label; the last one is its end.

    Attributes:
        form: How a label is written, for `str.format`.
    """

    title: str
    ticks: Sequence[float]
    form: str = "{:g}"

    def share(self, value: float) -> float:
        """Return where a value is on the axis, from 0 to 1."""
        return value / self.ticks[-1]

    def label(self, tick: float) -> str:
        """Return a value as it is written beside the axis."""
        return self.form.format(tick)


@dataclass(frozen=True, slots=True)
class Panel:
    """One plot of a chart; at most as many lines as there are colours."""

    y: Axis
    lines: Sequence[Line]
    marks: Sequence[Mark] = ()


def ticks_to(largest: float) -> list[float]:
    """Return at most six round values from 0, the last of which is not below the largest.

    Raises:
        ValueError: The largest is not positive.
    """
    unit = 10 ** math.floor(math.log10(largest))
    step = next(unit * each for each in (0.2, 0.5, 1, 2) if largest <= 5 * unit * each)
    return [round(step * number, 10) for number in range(math.ceil(largest / step) + 1)]


def chart(title: str, x: Axis, panels: Sequence[Panel]) -> str:
    """Return a picture of plots below each other, with one axis from left to right."""
    head = textwrap.wrap(title, _TITLE_CHARACTERS)
    tops = list(accumulate((_height(panel) for panel in panels), initial=_LINE_HEIGHT * len(head)))
    height = tops[-1] + _FOOT
    size = f'width="{_WIDTH}" height="{height}" viewBox="0 0 {_WIDTH} {height}"'
    drawn = [f'<rect width="{_WIDTH}" height="{height}"/>']
    for number, line in enumerate(head, start=1):
        drawn.append(_text(_WIDTH / 2, 4 + _LINE_HEIGHT * number, line, "middle", "title"))
    for top, panel in zip(tops, panels, strict=False):
        drawn += _panel(top, x, panel)
    for tick in x.ticks:
        drawn.append(_text(_across(x, tick), tops[-1] + 20, x.label(tick), "middle"))
    drawn.append(_text((_LEFT + _RIGHT) / 2, tops[-1] + 46, x.title, "middle"))
    body = "\n".join(drawn)
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" {size} role="img">\n'
        f"<title>{escape(title)}</title>\n<style>\n{_style()}</style>\n{body}\n</svg>\n"
    )


def _panel(top: float, x: Axis, panel: Panel) -> Iterator[str]:
    """Draw a plot: the title of its axis, its key, its grid, its marks and lines."""
    key = _key(panel.lines)
    top += _GAP
    plot_top = top + _LINE_HEIGHT * (1 + _rows(key)) + _BELOW_KEY
    bottom = plot_top + _PLOT_HEIGHT

    def up(value: float) -> float:
        return bottom - _PLOT_HEIGHT * panel.y.share(value)

    yield _text(_EDGE, top + _LINE_HEIGHT, panel.y.title, "start", "axis")
    styles = [place if line.style is None else line.style for place, line in enumerate(panel.lines)]
    for style, line, (left, row) in zip(styles, panel.lines, key, strict=True):
        middle = top + _LINE_HEIGHT * (2 + row) - 2
        yield _line(f"line{style}", (left, middle), (left + _SWATCH - 6, middle))
        yield _text(left + _SWATCH, middle + 5, line.name, "start", f"name{style}")
    for tick in panel.y.ticks:
        yield _line("grid", (_LEFT, up(tick)), (_RIGHT, up(tick)))
        yield _text(_LEFT - 8, up(tick) + 5, panel.y.label(tick), "end")
    for number, mark in enumerate(panel.marks):
        at, is_left = _across(x, mark.at), x.share(mark.at) <= 1 / 2
        yield _line("mark", (at, plot_top), (at, bottom))
        anchor, away = ("start", 6) if is_left else ("end", -6)
        yield _text(at + away, bottom - 12 - _LINE_HEIGHT * number, mark.text, anchor)
    for style, line in zip(styles, panel.lines, strict=True):
        points = " ".join(f"{_across(x, a):.1f},{up(b):.1f}" for a, b in line.points)
        yield f'<polyline class="line{style}" points="{points}"/>'


def _height(panel: Panel) -> float:
    """Return how high a plot is with its title and its key."""
    return _GAP + _LINE_HEIGHT * (1 + _rows(_key(panel.lines))) + _BELOW_KEY + _PLOT_HEIGHT


def _across(x: Axis, value: float) -> float:
    return _LEFT + (_RIGHT - _LEFT) * x.share(value)


def _key(lines: Sequence[Line]) -> list[tuple[float, int]]:
    """Return the left side and the row of each line's name, as many in a row as fit."""
    places, left, row = list[tuple[float, int]](), _EDGE, 0
    for line in lines:
        width = _SWATCH + _CHARACTER * len(line.name) + 12
        if left + width > _WIDTH and left > _EDGE:
            left, row = _EDGE, row + 1
        places.append((left, row))
        left += width
    return places


def _rows(key: Sequence[tuple[float, int]]) -> int:
    return max((row + 1 for _, row in key), default=0)


def _style() -> str:
    dark = f"@media (prefers-color-scheme: dark) {{\n{_colours('dark')}}}\n"
    patterns = "".join(
        f".line{number} {{ stroke-dasharray: {pattern}; }}\n"
        for number, pattern in enumerate(_PATTERNS)
        if pattern != "none"
    )
    lines = ", ".join(f".line{number}" for number in range(len(_PATTERNS)))
    return (
        "text { font: 14px sans-serif; }\n"
        ".title { font: bold 16px sans-serif; } .axis { font-weight: bold; }\n"
        f"line, polyline {{ fill: none; stroke-width: 1; }} {lines} {{ stroke-width: 2.5; }}\n"
        f".mark {{ stroke-dasharray: 4 4; }}\n{patterns}"
        f"{_colours('light')}{dark}"
    )


def _colours(scheme: str) -> str:
    colours = SCHEMES[scheme]
    rules = [
        f"text {{ fill: {colours['text']}; }}",
        f"rect {{ fill: {colours['page']}; }}",
        f".grid {{ stroke: {colours['grid']}; }}",
        f".mark {{ stroke: {colours['text']}; }}",
        *(
            f".line{number} {{ stroke: {colour}; }} .name{number} {{ fill: {colour}; }}"
            for number, colour in enumerate(LINES[scheme])
        ),
    ]
    return "".join(f"{rule}\n" for rule in rules)


def _line(kind: str, start: tuple[float, float], end: tuple[float, float]) -> str:
    (x1, y1), (x2, y2) = start, end
    return f'<line class="{kind}" x1="{x1:.1f}" y1="{y1:.1f}" x2="{x2:.1f}" y2="{y2:.1f}"/>'


def _text(x: float, y: float, text: str, anchor: str, kind: str = "") -> str:
    named = f' class="{kind}"' if kind else ""
    return f'<text{named} x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}">{escape(text)}</text>'
