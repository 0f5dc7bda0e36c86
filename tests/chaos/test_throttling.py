"""The rate of sends in more simulations: other latencies, shares of throttles and chances."""

from __future__ import annotations

import logging

import pytest

from tests.unit.executor.test_throttling import check_hard_limit, check_random_throttles

LATENCIES_S = (0.005, 0.02, 0.05)
SEEDS = range(8)


@pytest.fixture(autouse=True)
def quiet(caplog: pytest.LogCaptureFixture) -> None:
    """Keep no log of thousands of throttles."""
    caplog.set_level(logging.CRITICAL, "lambda_executor")


@pytest.mark.parametrize("latency_s", LATENCIES_S)
@pytest.mark.parametrize("share", [0.1, 0.25])
def test_random_throttles_leave_a_quarter_of_the_rate(latency_s: float, share: float) -> None:
    """This holds at each latency, for a share of 10 % and of 25 %."""
    check_random_throttles(share, latency_s, SEEDS)


@pytest.mark.parametrize("latency_s", LATENCIES_S)
@pytest.mark.parametrize("size", [10, 100])
def test_a_hard_limit_is_used_and_kept(latency_s: float, size: float) -> None:
    """This holds at each latency, for a small and a large burst."""
    check_hard_limit(size, latency_s, SEEDS)
