"""The statistics of the soak: growth is found, and noise is not growth."""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence

import pytest

from tests.soak.growth import FEWEST, between_quarters, growth, theil_sen

Estimate = Callable[[Sequence[tuple[float, float]]], float]


def noisy(slope: float, points: int = 120) -> list[tuple[float, float]]:
    """A series with this slope and noise; one value of twenty is far off."""
    chance = random.Random(20261130)
    return [
        (x / 10, 200 + slope * x / 10 + chance.gauss(0, 2) + 150 * (chance.random() < 0.05))
        for x in range(points)
    ]


@pytest.mark.parametrize("slope", [-3.0, 0.0, 3.0])
def test_both_estimates_find_a_slope_below_noise_and_outliers(slope: float) -> None:
    """The mean of the squares would follow the outliers."""
    assert theil_sen(noisy(slope)) == pytest.approx(slope, abs=0.5)
    assert between_quarters(noisy(slope)) == pytest.approx(slope, abs=0.5)


def test_growth_is_what_both_estimates_agree_on() -> None:
    """A leak moves both; what rises and falls again moves at most one."""
    assert growth(noisy(3.0)) == pytest.approx(3.0, abs=0.5)
    # Up at the end of the last quarter only, for less than half of it.
    late = [(float(x), 100.0 + 50 * (x > 110)) for x in range(120)]
    assert growth(late) == 0
    sawtooth = [(float(x), float(x % 20)) for x in range(120)]
    assert growth(sawtooth) == pytest.approx(0, abs=0.1)


def test_estimates_with_different_signs_are_no_growth() -> None:
    """A slow fall, and a step up in the last quarter."""
    step = [(float(x), -0.1 * x + 50 * (x >= 90)) for x in range(120)]
    assert theil_sen(step) < 0 < between_quarters(step)
    assert growth(step) == 0


def test_few_points_say_nothing() -> None:
    """So does a series that never gets on in x, as that of a load that stands still."""
    assert growth(noisy(3.0)[: FEWEST - 1]) is None
    assert growth([(1.0, float(y)) for y in range(20)]) is None


@pytest.mark.parametrize("estimate", [theil_sen, between_quarters])
def test_a_slope_needs_two_different_x(estimate: Estimate) -> None:
    """There is no slope through one vertical line, nor through one point."""
    for points in ([(1.0, 2.0)], [(1.0, float(y)) for y in range(8)]):
        with pytest.raises(ValueError, match="points"):
            estimate(points)
