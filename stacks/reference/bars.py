"""Bar charts: groups of figures below each other, each bar with its name and its figure.

The bars of a group begin at 0 and share one linear scale, so their lengths compare as the figures
do. `picture.py` has the frame.
"""

from __future__ import annotations

import textwrap
from collections.abc import Sequence
from dataclasses import dataclass

from stacks.reference.picture import EDGE, LINE_HEIGHT, heading, line, note, number, picture
from stacks.reference.picture import text as written

#: Where bars begin, the longest of them, and how high each is.
_LEFT, _LONGEST, _THICK = 168.0, 180.0, 14
#: Of a name beside its bar.
_NAME_CHARACTERS = 21
#: A bar that is not 0 can be seen.
_SHORTEST = 1.0
#: Above and below the title of a group.
_GAP, _BELOW_TITLE = 14, 6
NOT_MEASURED = "not measured"


@dataclass(frozen=True, slots=True)
class Bar:
    """One figure.

    Attributes:
        name: Whose it is; wrapped if it is long.
        value: Not negative; None if it was not measured.
        style: The number of its colour.
    """

    name: str
    value: float | None
    style: int

    def figure(self, unit: str) -> str:
        """Return the figure as text."""
        return NOT_MEASURED if self.value is None else f"{number(self.value)} {unit}".strip()


@dataclass(frozen=True, slots=True)
class Group:
    """Figures of one kind, which are compared."""

    title: str
    unit: str
    bars: Sequence[Bar]


def bars(title: str, groups: Sequence[Group], remark: str) -> str:
    """Return a picture of these groups.

    Args:
        title: What the picture is about.
        groups: From top to bottom.
        remark: When and how it was measured; it stands below the bars.
    """
    drawn = heading(title)
    top = float(LINE_HEIGHT * len(drawn))
    for group in groups:
        elements, top = _group(top, group)
        drawn += elements
    remarks = note(top + _GAP, remark)
    height = round(top + _GAP + LINE_HEIGHT * len(remarks) + EDGE / 2)
    return picture(title, _description(groups), height, [*drawn, *remarks])


def _group(top: float, group: Group) -> tuple[list[str], float]:
    """Draw a group below `top`; return its elements and where it ends."""
    top += _GAP + LINE_HEIGHT
    drawn = [written(EDGE, top, group.title, "start", "axis")]
    first = top = top + _BELOW_TITLE
    largest = max((bar.value or 0.0 for bar in group.bars), default=0.0)
    for bar in group.bars:
        names = textwrap.wrap(bar.name, _NAME_CHARACTERS)
        for place, name in enumerate(names, start=1):
            drawn.append(written(EDGE, top + LINE_HEIGHT * place - 5, name, "start"))
        length = _length(bar.value or 0.0, largest)
        middle = top + LINE_HEIGHT * len(names) / 2
        if length:
            corner = f'x="{_LEFT:.1f}" y="{middle - _THICK / 2:.1f}"'
            size = f'width="{length:.1f}" height="{_THICK}"'
            drawn.append(f'<rect class="bar{bar.style}" {corner} {size}/>')
        figure = bar.figure(group.unit)
        drawn.append(written(_LEFT + length + 6, middle + 5, figure, "start", f"name{bar.style}"))
        top += LINE_HEIGHT * len(names)
    drawn.append(line("grid", (_LEFT, first), (_LEFT, top)))
    return drawn, top


def _length(value: float, largest: float) -> float:
    return max(_LONGEST * value / largest, _SHORTEST) if value else 0.0


def _description(groups: Sequence[Group]) -> str:
    return " ".join(
        f"{group.title}: {'; '.join(f'{bar.name} {bar.figure(group.unit)}' for bar in group.bars)}."
        for group in groups
    )
