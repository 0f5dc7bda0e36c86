"""The pictures of what 1,000 tasks cost here and elsewhere, with costs that are easy to check."""

from __future__ import annotations

from xml.etree import ElementTree as ET

import pytest

from stacks.reference.alternatives import DAYS_A_MONTH, MEASURE, Cost
from stacks.reference.cost_charts import NAMES, picture
from tests.support.svg import SVG, points, texts, what_leaves_it

#: US dollars that a task costs here.
HERE = 0.01


def fixed(usd: float) -> Cost:
    """So much a month, whatever runs."""
    return lambda _: usd


def each(usd: float) -> Cost:
    """So much for each task, and nothing else."""
    return lambda load: usd * load.tasks * DAYS_A_MONTH


def up_to(tasks: int) -> Cost:
    """What does not run more than so many tasks a day."""
    return lambda load: 50.0 if load.tasks <= tasks else None


def drawn(**other: Cost) -> ET.Element:
    """A picture in which this kit takes a cent for each task; who is not named takes two."""
    costs = {name: each(2 * HERE) for name in NAMES} | {MEASURE: each(HERE)} | other
    return ET.fromstring(picture(costs, 30))


def line_of(found: ET.Element, style: int) -> list[tuple[float, float]]:
    """The points of a line."""
    (line,) = (one for one in found.iter(f"{SVG}polyline") if one.get("class") == f"line{style}")
    return points(line)


def marks(found: ET.Element) -> list[float]:
    """Where the vertical lines stand."""
    every = found.iter(f"{SVG}line")
    return [float(one.attrib["x1"]) for one in every if (one.get("class") or "").startswith("mark")]


def test_a_vertical_line_stands_where_another_becomes_cheaper() -> None:
    """1,000 a day cost as much as a month of MWAA here."""
    found = drawn(MWAA=fixed(1000 * HERE * DAYS_A_MONTH))
    ours, theirs = line_of(found, 0), line_of(found, list(NAMES).index("MWAA"))
    (mark,) = marks(found)
    dearer = [a for a, b in zip(ours, theirs, strict=True) if b[1] < a[1]]
    assert dearer[-1][0] <= mark <= dearer[-1][0] + 3
    (said,) = (text for text in texts(found) if text.startswith("MWAA: "))
    assert 1000 < int(said.removeprefix("MWAA: cheaper from ").replace(",", "")) <= 1012


@pytest.mark.parametrize(
    ("cost", "said"), [(each(3 * HERE), "never cheaper"), (each(0.5 * HERE), "always cheaper")]
)
def test_who_is_never_or_always_cheaper_has_no_vertical_line(cost: Cost, said: str) -> None:
    """The key says so."""
    found = drawn(MWAA=cost)
    assert marks(found) == []
    assert f"MWAA: {said}" in texts(found)


def test_a_break_even_point_beyond_the_picture_is_in_the_key_only() -> None:
    """260,000 a day, and the axis ends at 100,000."""
    found = drawn(MWAA=fixed(260_000 * HERE * DAYS_A_MONTH))
    assert marks(found) == []
    assert any(text.startswith("MWAA: cheaper from 26") for text in texts(found))


def test_a_line_ends_with_what_runs_there() -> None:
    """1,000 tasks a day are a third of the way."""
    found = drawn(MWAA=up_to(1000))
    whole, part = line_of(found, 0), line_of(found, list(NAMES).index("MWAA"))
    share = (part[-1][0] - part[0][0]) / (whole[-1][0] - whole[0][0])
    assert share == pytest.approx(1 / 3, abs=0.01)
    assert what_leaves_it(found) == []


def test_a_thousand_tasks_cost_a_month_over_its_tasks() -> None:
    """A cent for each task is the line at $10, whatever the load."""
    found = drawn()
    (label,) = (text for text in found.iter(f"{SVG}text") if text.text == "$10")
    at = float(label.attrib["y"]) - 5
    assert [y for _, y in line_of(found, 0)] == pytest.approx([at] * len(line_of(found, 0)))
