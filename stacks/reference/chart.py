"""Line charts: plots below each other that share the axis from left to right.

`picture.py` has the frame.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import accumulate

from stacks.reference.picture import CHARACTER, EDGE, LINE_HEIGHT, WIDTH, heading, note, picture
from stacks.reference.picture import line as straight
from stacks.reference.picture import text as written

#: Left and right side of the plots.
_LEFT, _RIGHT = 62, 462
_PLOT_HEIGHT = 200
#: The height of what is below the last plot: its labels and their title.
_FOOT = 62
#: Above the title of a plot, and between its key and its upper end.
_GAP, _BELOW_KEY = 12, 14
#: Before each name of the key is a piece of its line.
_SWATCH = 30


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
    """A vertical line at one value.

    Attributes:
        text: What it means; empty if the key says it.
        style: The number of its colour; None: that of the text.
    """

    at: float
    text: str = ""
    style: int | None = None


@dataclass(frozen=True, slots=True)
class Axis:
    """An axis: its title, and the values that have a label; the last one is its end.

    Attributes:
        form: How a label is written, for `str.format`.
        logarithmic: It begins at its first label and not at 0, and ten times as much is always as
            far away.
    """

    title: str
    ticks: Sequence[float]
    form: str = "{:g}"
    logarithmic: bool = False

    def share(self, value: float) -> float:
        """Return where a value is on the axis, from 0 to 1."""
        if self.logarithmic:
            return math.log(value / self.ticks[0]) / math.log(self.ticks[-1] / self.ticks[0])
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
    unit = 10.0 ** math.floor(math.log10(largest))
    step = next(unit * each for each in (0.2, 0.5, 1, 2) if largest <= 5 * unit * each)
    return [float(f"{step * number:.10g}") for number in range(math.ceil(largest / step) + 1)]


def decades(least: float, largest: float) -> list[float]:
    """Return the powers of ten for a logarithmic axis that has both values.

    Raises:
        ValueError: A value is not positive.
    """
    first, last = math.floor(math.log10(least)), math.ceil(math.log10(largest))
    return [10.0**power for power in range(first, max(last, first + 1) + 1)]


def chart(title: str, x: Axis, panels: Sequence[Panel], remark: str = "") -> str:
    """Return a picture of plots below each other, with one axis from left to right.

    Args:
        title: What the picture is about.
        x: The axis of all plots.
        panels: From top to bottom.
        remark: What stands below the axis.
    """
    drawn = heading(title)
    heights = (_height(panel) for panel in panels)
    tops = list(accumulate(heights, initial=float(LINE_HEIGHT * len(drawn))))
    for top, panel in zip(tops, panels, strict=False):
        drawn += _panel(top, x, panel)
    for tick in x.ticks:
        label = x.label(tick)
        at = min(_across(x, tick), WIDTH - CHARACTER * len(label) / 2)
        drawn.append(written(at, tops[-1] + 20, label, "middle"))
    drawn.append(written((_LEFT + _RIGHT) / 2, tops[-1] + 46, x.title, "middle"))
    remarks = note(tops[-1] + _FOOT, remark)
    height = round(tops[-1] + _FOOT + LINE_HEIGHT * len(remarks))
    return picture(title, _description(x, panels), height, [*drawn, *remarks])


def _panel(top: float, x: Axis, panel: Panel) -> Iterator[str]:
    """Draw a plot: the title of its axis, its key, its grid, its marks and lines."""
    key = _key(panel.lines)
    top += _GAP
    plot_top = top + LINE_HEIGHT * (1 + _rows(key)) + _BELOW_KEY
    bottom = plot_top + _PLOT_HEIGHT

    def up(value: float) -> float:
        return bottom - _PLOT_HEIGHT * panel.y.share(value)

    yield written(EDGE, top + LINE_HEIGHT, panel.y.title, "start", "axis")
    styles = [place if line.style is None else line.style for place, line in enumerate(panel.lines)]
    for style, line, (left, row) in zip(styles, panel.lines, key, strict=True):
        middle = top + LINE_HEIGHT * (2 + row) - 2
        yield straight(f"line{style}", (left, middle), (left + _SWATCH - 6, middle))
        yield written(left + _SWATCH, middle + 5, line.name, "start", f"name{style}")
    for tick in panel.y.ticks:
        yield straight("grid", (_LEFT, up(tick)), (_RIGHT, up(tick)))
        yield written(_LEFT - 8, up(tick) + 5, panel.y.label(tick), "end")
    for number, mark in enumerate(panel.marks):
        at, is_left = _across(x, mark.at), x.share(mark.at) <= 1 / 2
        kind = "mark" if mark.style is None else f"mark colour{mark.style}"
        yield straight(kind, (at, plot_top), (at, bottom))
        anchor, away = ("start", 6) if is_left else ("end", -6)
        if mark.text:
            yield written(at + away, bottom - 12 - LINE_HEIGHT * number, mark.text, anchor)
    for style, line in zip(styles, panel.lines, strict=True):
        points = " ".join(f"{_across(x, a):.1f},{up(b):.1f}" for a, b in line.points)
        yield f'<polyline class="line{style}" points="{points}"/>'


def _description(x: Axis, panels: Sequence[Panel]) -> str:
    """Return for each plot between which values its lines go, and its marks."""
    found = []
    for panel in panels:
        said = [f"{line.name} {_course(line, panel.y)}" for line in panel.lines]
        said += [mark.text for mark in panel.marks if mark.text]
        found.append(f"{panel.y.title}, by {x.title}: {'; '.join(said)}.")
    return " ".join(found)


def _course(line: Line, y: Axis) -> str:
    if not line.points:
        return "has no points"
    first, last = (y.label(float(f"{line.points[end][1]:.3g}")) for end in (0, -1))
    return f"from {first} to {last}"


def _height(panel: Panel) -> float:
    """Return how high a plot is with its title and its key."""
    return _GAP + LINE_HEIGHT * (1 + _rows(_key(panel.lines))) + _BELOW_KEY + _PLOT_HEIGHT


def _across(x: Axis, value: float) -> float:
    return _LEFT + (_RIGHT - _LEFT) * x.share(value)


def _key(lines: Sequence[Line]) -> list[tuple[float, int]]:
    """Return the left side and the row of each line's name, as many in a row as fit."""
    places, left, row = list[tuple[float, int]](), EDGE, 0
    for line in lines:
        width = _SWATCH + CHARACTER * len(line.name) + 12
        if left + width > WIDTH and left > EDGE:
            left, row = EDGE, row + 1
        places.append((left, row))
        left += width
    return places


def _rows(key: Sequence[tuple[float, int]]) -> int:
    return max((row + 1 for _, row in key), default=0)
