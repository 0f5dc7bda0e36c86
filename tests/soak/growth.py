"""How much a series grows, by two robust estimates: single outliers do not move them. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import combinations
from statistics import median

#: Fewer points say nothing about growth.
FEWEST = 12


def theil_sen(points: Sequence[tuple[float, float]]) -> float:
    """The median slope of all lines through two points (the Theil-Sen estimator).

    Raises:
        ValueError: All points have the same x.
    """
    slopes = [(y2 - y1) / (x2 - x1) for (x1, y1), (x2, y2) in combinations(points, 2) if x1 != x2]
    if not slopes:
        raise ValueError("a slope needs points with different x")
    return median(slopes)


def between_quarters(points: Sequence[tuple[float, float]]) -> float:
    """The slope from the medians of the first quarter to those of the last.

    Raises:
        ValueError: There are fewer than four points, or they do not get on in x.
    """
    size = len(points) // 4
    if not size:
        raise ValueError(f"four quarters need at least four points, not {len(points)}")
    (x1, y1), (x2, y2) = (
        (median(x for x, _ in quarter), median(y for _, y in quarter))
        for quarter in (points[:size], points[-size:])
    )
    if x1 == x2:
        raise ValueError("a slope needs points with different x")
    return (y2 - y1) / (x2 - x1)


def growth(points: Sequence[tuple[float, float]]) -> float | None:
    """The slope on which both estimates agree: the one nearer to 0, or 0 if their signs differ.

    A step up in the middle, or a sawtooth that happens to end high, moves one of them more than
    the other; a leak moves both. None: there are too few points, or they do not get on in x.
    """
    if len(points) < FEWEST or points[0][0] == points[-1][0]:
        return None
    one, other = theil_sen(points), between_quarters(points)
    if one * other <= 0:
        return 0.0
    return min(one, other, key=abs)
