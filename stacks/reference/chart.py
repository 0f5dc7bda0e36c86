"""A line chart as SVG, readable on a light and on a dark page."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from xml.sax.saxutils import escape

#: Width and height of the picture; left, top, right and bottom of the plot.
_WIDTH, _HEIGHT = 720, 380
_LEFT, _TOP, _RIGHT, _BOTTOM = 70, 50, 690, 315

#: Colours of text, grid and lines, by the page's scheme.
SCHEMES = {
    "light": {"page": "#ffffff", "text": "#1f2328", "grid": "#d1d9e0"},
    "dark": {"page": "#0d1117", "text": "#f0f6fc", "grid": "#3d444d"},
}
LINES = {"light": ("#0550ae", "#953800"), "dark": ("#58a6ff", "#f0883e")}


@dataclass(frozen=True, slots=True)
class Line:
    """A line of a chart: its name and its points, from left to right."""

    name: str
    points: Sequence[tuple[float, float]]


@dataclass(frozen=True, slots=True)
class Mark:
    """A vertical line at one value, with what it means."""

    at: float
    text: str


@dataclass(frozen=True, slots=True)
class Axis:
    """An axis from 0: its title, and the values that have a label; the last one is its end."""

    title: str
    ticks: Sequence[float]

    def share(self, value: float) -> float:
        """Return where a value is on the axis, from 0 to 1."""
        return value / self.ticks[-1]


def ticks_to(largest: float) -> list[float]:
    """Return at most six round values from 0, the last of which is not below the largest."""
    unit = 10 ** math.floor(math.log10(largest))
    step = next(unit * each for each in (0.2, 0.5, 1, 2) if largest <= 5 * unit * each)
    return [round(step * number, 10) for number in range(math.ceil(largest / step) + 1)]


def line_chart(title: str, x: Axis, y: Axis, lines: Sequence[Line], marks: Sequence[Mark]) -> str:
    """Return a picture of at most as many lines as there are colours."""

    def across(value: float) -> float:
        return _LEFT + (_RIGHT - _LEFT) * x.share(value)

    def up(value: float) -> float:
        return _BOTTOM - (_BOTTOM - _TOP) * y.share(value)

    def body() -> Iterator[str]:
        yield f'<rect width="{_WIDTH}" height="{_HEIGHT}"/>'
        yield _text(_WIDTH / 2, 24, title, "middle", "title")
        for tick in y.ticks:
            yield _line("grid", (_LEFT, up(tick)), (_RIGHT, up(tick)))
            yield _text(_LEFT - 8, up(tick) + 4, f"${tick:.2f}", "end")
        for tick in x.ticks:
            yield _text(across(tick), _BOTTOM + 20, f"{tick:g}", "middle")
        yield _text((_LEFT + _RIGHT) / 2, _BOTTOM + 48, x.title, "middle")
        yield _text(_LEFT, _TOP - 10, y.title, "start")
        for number, mark in enumerate(marks):
            yield _line("mark", (across(mark.at), _TOP), (across(mark.at), _BOTTOM))
            yield _text(across(mark.at) + 6, _BOTTOM - 12 - 20 * number, mark.text, "start")
        for number, line in enumerate(lines):
            points = " ".join(f"{across(a):.1f},{up(b):.1f}" for a, b in line.points)
            yield f'<polyline class="line{number}" points="{points}"/>'
            last_x, last_y = line.points[-1]
            yield _text(across(last_x) - 4, up(last_y) - 8, line.name, "end", f"name{number}")

    size = f'width="{_WIDTH}" height="{_HEIGHT}" viewBox="0 0 {_WIDTH} {_HEIGHT}"'
    drawn = "\n".join(body())
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" {size} role="img">\n'
        f"<title>{escape(title)}</title>\n<style>\n{_style()}</style>\n{drawn}\n</svg>\n"
    )


def _style() -> str:
    dark = f"@media (prefers-color-scheme: dark) {{\n{_colours('dark')}}}\n"
    return (
        "text { font: 13px sans-serif; } .title { font: bold 15px sans-serif; }\n"
        "line, polyline { fill: none; stroke-width: 1; } polyline { stroke-width: 3; }\n"
        ".mark { stroke-dasharray: 4 4; }\n"
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
