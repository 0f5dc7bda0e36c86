"""How long a connection has been idle, by two clocks."""

from __future__ import annotations

import pytest

from lambda_image.aws_calls import Idleness


@pytest.mark.parametrize("clock", ["monotonic", "wall"])
@pytest.mark.parametrize("frozen_s", [Idleness.LIMIT_S - 1, Idleness.LIMIT_S + 1, 7 * 86400])
def test_either_clock_ends_a_connection(clock: str, frozen_s: float) -> None:
    """The clock on which more time has passed decides: one of them may have stood still."""
    now_s = {"monotonic": 5.0, "wall": 1e9}
    idleness = Idleness(lambda: now_s["monotonic"], lambda: now_s["wall"])
    assert not idleness.is_too_long()
    now_s[clock] += frozen_s
    assert idleness.is_too_long() is (frozen_s > Idleness.LIMIT_S)
    idleness.begin()
    assert not idleness.is_too_long()


def test_a_clock_that_is_set_back_ends_nothing() -> None:
    """The other clock still says how long it was."""
    now_s = {"monotonic": 5.0, "wall": 1e9}
    idleness = Idleness(lambda: now_s["monotonic"], lambda: now_s["wall"])
    now_s["wall"] -= 3600
    assert not idleness.is_too_long()
    now_s["monotonic"] += Idleness.LIMIT_S + 1
    assert idleness.is_too_long()
