"""The page of what a task costs on each target."""

from __future__ import annotations

import pytest

from stacks.reference import targets
from stacks.reference.costs import lines
from stacks.reference.targets import (
    FARGATE,
    FUNCTION,
    MICRO_VM,
    SPOT,
    TARGETS,
    Size,
    TargetCost,
    cheaper_from_s,
)
from tests.synth.variants import ROOT

SMALL, LARGE = targets.SIZES
HOUR = 3600.0


def test_the_page_is_current() -> None:
    """`make docs` writes it."""
    page = (ROOT / "docs/reference/costs-of-targets.md").read_text()
    assert page == targets.render(), "run: make docs"


@pytest.mark.parametrize(
    ("target", "size", "usd"),
    [
        (FUNCTION, SMALL, 2 * 0.0000133334 * HOUR),
        (MICRO_VM, SMALL, 0.1261),  # AWS's own price of this size for an hour.
        (MICRO_VM, LARGE, 0.5044),
        (FARGATE, SMALL, 0.03238 + 2 * 0.00356),
        (FARGATE, LARGE, 4 * 0.03238 + 8 * 0.00356),
        (SPOT, SMALL, 0.01030969 + 2 * 0.00113349),
    ],
)
def test_an_hour_costs_processors_and_memory(target: TargetCost, size: Size, usd: float) -> None:
    """The prices of the table, for a size."""
    assert target.a_second(size) * HOUR == pytest.approx(usd, abs=0.0001)


def test_a_task_is_charged_for_its_start() -> None:
    """Ten minutes cost more than a sixth of an hour on every target."""
    for target in TARGETS:
        usd = target.usd(SMALL, 600)
        assert usd is not None
        assert usd > 600 * target.a_second(SMALL), target.name


def test_fargate_charges_for_a_minute_at_least() -> None:
    """So a task of a second costs as much as one of twenty."""
    assert FARGATE.usd(SMALL, 1) == FARGATE.usd(SMALL, 20) == 60 * FARGATE.a_second(SMALL)


@pytest.mark.parametrize(
    ("target", "longest_s"), [(FUNCTION, 1800), (MICRO_VM, 28_800), (FARGATE, None), (SPOT, None)]
)
def test_a_task_that_is_too_long_has_no_price(target: TargetCost, longest_s: int | None) -> None:
    """The time-out of a function and the life of a MicroVM are the longest tries."""
    if longest_s is None:
        assert target.usd(SMALL, 86_400) is not None
    else:
        assert target.usd(SMALL, longest_s) is not None
        assert target.usd(SMALL, longest_s + 1) is None


def test_the_other_target_is_cheaper_from_the_second_that_the_page_says() -> None:
    """Just before it, it is not."""
    seconds = cheaper_from_s(FUNCTION, FARGATE, SMALL)
    assert seconds is not None
    here, there = (
        [target.usd(SMALL, each) or 0.0 for each in (seconds - 1, seconds)]
        for target in (FUNCTION, FARGATE)
    )
    assert there[0] >= here[0]
    assert there[1] < here[1]
    assert cheaper_from_s(FUNCTION, MICRO_VM, SMALL) is None


def test_an_image_of_a_micro_vm_costs_its_snapshot_all_month() -> None:
    """2 GB at $0.08; nothing for each task."""
    properties = {"Resources": [{"MinimumMemoryInMiB": 2048}]}
    image = {"Type": "AWS::Lambda::MicrovmImage", "Properties": properties}
    (line,) = lines([{"Resources": {"Image": image}}])
    assert line.idle == pytest.approx(0.16)
    assert line.thousand(60) == 0
