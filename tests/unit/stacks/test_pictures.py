"""The charts: what they draw of any figures, and that they can be read."""

from __future__ import annotations

import re
from xml.etree import ElementTree as ET

import pytest

from stacks.reference.bars import NOT_MEASURED, Bar, Group, bars
from stacks.reference.chart import Axis, Line, Mark, Panel, chart, decades, ticks_to
from stacks.reference.picture import COLOURS, SCHEMES, number
from tests.support.svg import SVG, points, texts, what_leaves_it


def of_bars(*values: float | None, unit: str = "ms") -> ET.Element:
    """A picture with one group."""
    drawn = [Bar(f"executor {place}", value, place) for place, value in enumerate(values)]
    return ET.fromstring(bars("A title", [Group("a figure", unit, drawn)], "Measured today."))


def widths(picture: ET.Element) -> list[float]:
    """The length of each bar."""
    every = picture.iter(f"{SVG}rect")
    return [float(bar.attrib["width"]) for bar in every if bar.attrib["class"] != "page"]


def test_bars_are_as_long_as_their_figures() -> None:
    """From 0, on one scale."""
    short, long = widths(of_bars(25.0, 100.0))
    assert long == pytest.approx(4 * short, abs=0.1)


def test_a_figure_of_zero_has_no_bar_and_is_written() -> None:
    """Also if all are zero."""
    picture = of_bars(0.0, 0.0)
    assert widths(picture) == []
    assert texts(picture).count("0 ms") == 2


def test_what_was_not_measured_is_not_shown_as_zero() -> None:
    """It says so instead of a figure."""
    picture = of_bars(None, 5.0)
    assert NOT_MEASURED in texts(picture)
    assert len(widths(picture)) == 1
    assert NOT_MEASURED in (picture.findtext(f"{SVG}desc") or "")


def test_a_small_figure_beside_a_huge_one_can_be_seen() -> None:
    """At least a pixel, and the huge one stays in the picture with its text."""
    picture = of_bars(0.001, 123_456_789.0)
    assert min(widths(picture)) >= 1
    assert "123,500,000 ms" in texts(picture)
    assert what_leaves_it(picture) == []


@pytest.mark.parametrize("value", [1e-9, 1.0, 999.96, 29_990.0, 5e12, 1e300])
def test_no_figure_leaves_the_picture(value: float) -> None:
    """Its text stands behind the longest bar."""
    assert what_leaves_it(of_bars(value, value / 2)) == []


def test_a_group_without_bars_and_a_long_name() -> None:
    """The one is empty, the other is wrapped."""
    name = "an executor whose name is much too long for one line"
    groups = [Group("nothing", "s", []), Group("one", "s", [Bar(name, 1.0, 0)])]
    picture = ET.fromstring(bars("A title", groups, ""))
    assert what_leaves_it(picture) == []
    assert name in " ".join(texts(picture))


def test_names_are_escaped() -> None:
    """A picture is XML, whatever is measured."""
    picture = ET.fromstring(bars("<&>", [Group("a < b & c", "s", [Bar("<&>", 1, 0)])], "<&>"))
    assert texts(picture).count("<&>") == 3
    assert picture.findtext(f"{SVG}title") == "<&>"


@pytest.mark.parametrize(
    ("value", "written"),
    [
        (0.0, "0"),
        (0.36123, "0.3612"),
        (12.2, "12.2"),
        (999.96, "1,000"),
        (1533.4, "1,533"),
        (11_280.0, "11,280"),
        (29_994.0, "29,990"),
        (2e9, "2e+09"),
        (float("nan"), "nan"),
    ],
)
def test_a_figure_has_four_digits_that_count(value: float, written: str) -> None:
    """And commas, as people write it."""
    assert number(value) == written


def test_a_logarithmic_axis_gives_each_power_of_ten_as_much() -> None:
    """And begins at its first label."""
    axis = Axis("tasks", decades(120, 90_000), logarithmic=True)
    assert axis.ticks == [100, 1_000, 10_000, 100_000]
    assert [axis.share(tick) for tick in axis.ticks] == pytest.approx([0, 1 / 3, 2 / 3, 1])


def test_an_axis_for_one_value_has_a_length() -> None:
    """Also if the value is a power of ten itself."""
    assert decades(10, 10) == [10, 100]
    assert decades(0.02, 0.02) == [0.01, 0.1]


@pytest.mark.parametrize("largest", [3e-12, 0.07, 1, 99, 12_345, 7e15])
def test_ticks_reach_the_largest_value(largest: float) -> None:
    """Few, and each another."""
    ticks = ticks_to(largest)
    assert ticks[0] == 0
    assert ticks[-2] < largest <= ticks[-1]
    assert len(set(ticks)) == len(ticks) <= 6


@pytest.mark.parametrize("largest", [0.0, -1.0])
def test_an_axis_to_nothing_is_refused(largest: float) -> None:
    """The caller knows better what an empty plot should show."""
    with pytest.raises(ValueError, match=r"math domain|positive"):
        ticks_to(largest)


def test_a_line_without_points_is_in_the_key() -> None:
    """And the description says that it has none."""
    panel = Panel(Axis("y", [0, 1]), [Line("empty", []), Line("full", [(0, 0), (10, 1)])])
    picture = ET.fromstring(chart("A title", Axis("x", [0, 10]), [panel], "A remark."))
    assert {"empty", "full", "A remark."} <= set(texts(picture))
    assert picture.findtext(f"{SVG}desc") == "y, by x: empty has no points; full from 0 to 1."
    assert what_leaves_it(picture) == []


def test_a_mark_has_the_colour_of_its_line() -> None:
    """It stands where the value is, with a text or without."""
    marks = [Mark(5, style=1), Mark(2.5, "a text")]
    panel = Panel(Axis("y", [0, 1]), [Line("a", [(0, 0), (10, 1)])], marks)
    picture = ET.fromstring(chart("A title", Axis("x", [0, 10]), [panel]))
    (line,) = map(points, picture.iter(f"{SVG}polyline"))
    coloured, plain = (
        each for each in picture.iter(f"{SVG}line") if each.attrib["class"].startswith("mark")
    )
    assert coloured.attrib["class"] == "mark colour1"
    assert float(coloured.attrib["x1"]) == pytest.approx((line[0][0] + line[1][0]) / 2)
    assert plain.attrib["class"] == "mark"
    assert texts(picture).count("a text") == 1


def test_the_last_label_of_an_axis_stays_in_the_picture() -> None:
    """Also if it is long."""
    axis = Axis("x", decades(100, 100_000_000), "{:,.0f}", logarithmic=True)
    panel = Panel(Axis("y", [0, 1]), [Line("a", [(100, 0), (100_000_000, 1)])])
    assert what_leaves_it(ET.fromstring(chart("A title", axis, [panel]))) == []


@pytest.mark.parametrize("scheme", SCHEMES)
def test_the_picture_can_be_read_on_light_and_dark_pages(scheme: str) -> None:
    """Text and the names of lines have the contrast that WCAG 2.2 asks of text, 4.5 to 1.

    https://www.w3.org/TR/WCAG22/#contrast-minimum
    """
    page = SCHEMES[scheme]["page"]
    for colour in (SCHEMES[scheme]["text"], *COLOURS[scheme]):
        assert contrast(colour, page) >= 4.5, colour


def contrast(one: str, other: str) -> float:
    """The contrast of two colours: https://www.w3.org/TR/WCAG22/#dfn-contrast-ratio."""

    def luminance(colour: str) -> float:
        shares = [int(part, 16) / 255 for part in re.findall("[0-9a-f]{2}", colour)]
        red, green, blue = (
            share / 12.92 if share <= 0.04045 else ((share + 0.055) / 1.055) ** 2.4
            for share in shares
        )
        return 0.2126 * red + 0.7152 * green + 0.0722 * blue

    light, dark = sorted(map(luminance, (one, other)), reverse=True)
    return (light + 0.05) / (dark + 0.05)
