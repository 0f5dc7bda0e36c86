"""The page and the picture of what starts from snapshots cost."""

from __future__ import annotations

from xml.etree import ElementTree as ET

import pytest

from stacks.config import FunctionConfig
from stacks.reference import snapshots
from stacks.reference.costs import lines
from stacks.reference.rates import snapshot_a_month
from stacks.reference.snapshots import Burst, a_second, break_even_s, cold, restored
from tests.support.svg import SVG, points, what_leaves_it
from tests.synth.variants import ROOT

ONE_GB = FunctionConfig(name="default", memory_mb=1024, architecture="arm64")


@pytest.fixture(scope="module")
def prod() -> FunctionConfig:
    """The function that the page is about."""
    return snapshots.function_of_prod(ROOT)


def test_the_page_and_its_picture_are_current(prod: FunctionConfig) -> None:
    """`make docs` writes both."""
    page = (ROOT / "docs/reference/costs-of-snapshots.md").read_text()
    assert page == snapshots.render(prod), "run: make docs"
    assert (ROOT / snapshots.CHART).read_text() == snapshots.chart(prod), "run: make docs"
    assert f"](../images/{snapshots.CHART.rpartition('/')[2]})" in page


def test_a_snapshot_is_charged_all_month_for_its_memory() -> None:
    """A GB for 730 hours, and nothing without `SnapStart`."""
    month = 730 * 3600 * 0.0000015046
    assert snapshot_a_month(1024) == pytest.approx(month)
    version = {"Type": "AWS::Lambda::Version", "Properties": {"FunctionName": {"Ref": "F"}}}
    for more, expected in (({"SnapStart": {"ApplyOn": "PublishedVersions"}}, month), ({}, 0)):
        properties = {"MemorySize": 1024, "Architectures": ["arm64"], **more}
        function = {"Type": "AWS::Lambda::Function", "Properties": properties}
        found = lines([{"Resources": {"F": function, "V": version}}])
        (line,) = (line for line in found if line.type == "AWS::Lambda::Version")
        assert line.idle == pytest.approx(expected)


def test_a_start_costs_its_time_and_its_restore() -> None:
    """A GB: 1.87 s of arm64 without a snapshot; the price of a restore and 0.09 s with one."""
    assert cold(ONE_GB).usd == pytest.approx(1.87 * 0.0000133334)
    assert restored(ONE_GB).usd == pytest.approx(0.0001397998 + 0.09 * 0.0000133334)


def test_both_starts_cost_the_same_at_the_break_even_point() -> None:
    """The memory is the same factor on both sides."""
    assert cold(ONE_GB, break_even_s(ONE_GB)).usd == pytest.approx(restored(ONE_GB).usd)
    larger = ONE_GB.model_copy(update={"memory_mb": 4096})
    assert break_even_s(larger) == pytest.approx(break_even_s(ONE_GB))


def test_a_burst_pays_each_start_once_and_waits_for_it_once() -> None:
    """Ten tasks of 2 s in four environments: three rounds, of which the first one starts them."""
    burst, start = Burst(4, tasks=10, seconds=2), snapshots.Start(waits_s=3, usd=0.5)
    assert burst.ends_after_s(start) == pytest.approx(3 + 2 + 2 * (snapshots.WARM_S + 2))
    busy_s = 10 * 2 + 6 * snapshots.WARM_S
    requests = 10 * 0.20 / 1e6
    price = a_second(ONE_GB)
    assert burst.usd(start, price) == pytest.approx(4 * 0.5 + busy_s * price + requests)


@pytest.mark.parametrize("memory_mb", [512, 1769, 10_240])
def test_the_picture_has_its_lines_where_the_prices_are(
    prod: FunctionConfig, memory_mb: int
) -> None:
    """The lines cross at the mark of the break-even point, and nothing leaves the picture."""
    picture = ET.fromstring(snapshots.chart(prod.model_copy(update={"memory_mb": memory_mb})))
    cold_line, flat = map(points, picture.iter(f"{SVG}polyline"))
    marks = [float(m.attrib["x1"]) for m in picture.iter(f"{SVG}line") if m.get("class") == "mark"]
    (x0, y0), (x1, y1) = cold_line[0], cold_line[-1]
    crossing = x0 + (x1 - x0) * (flat[0][1] - y0) / (y1 - y0)
    assert crossing == pytest.approx(marks[1], abs=0.5)
    assert what_leaves_it(picture) == []
