"""The number of calls under way follows their latency, and falls when they are throttled."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lambda_executor.core.concurrency import MOST_PER_S, Concurrency


def after(latency_s: float, *, answers: int = 100, most: int = 1000) -> Concurrency:
    """The state after a number of answers with the same latency."""
    concurrency = Concurrency(most)
    for _ in range(answers):
        concurrency.answered(latency_s)
    return concurrency


def test_ten_times_the_latency_takes_ten_times_the_calls() -> None:
    """The target rate does not depend on the latency."""
    assert after(0.02).limit == MOST_PER_S * 0.02
    assert after(0.2).limit == MOST_PER_S * 0.2


def test_the_fastest_of_the_recent_answers_counts() -> None:
    """Calls that waited for a processor must not call for more calls."""
    concurrency = after(0.02)
    for _ in range(50):
        concurrency.answered(0.5)
    assert concurrency.limit == MOST_PER_S * 0.02


def test_a_latency_that_stays_is_followed() -> None:
    """Old answers are forgotten, in both directions."""
    concurrency = after(0.02)
    for latency_s in (0.2, 0.05):
        for _ in range(100):
            concurrency.answered(latency_s)
        assert concurrency.limit == pytest.approx(MOST_PER_S * latency_s, abs=1)


def test_a_throttle_halves_and_answers_restore() -> None:
    """The limit falls fast, and rises slowly to its maximum again."""
    concurrency = after(0.02)
    full = concurrency.limit
    concurrency.throttled()
    assert concurrency.limit == full // 2
    concurrency.answered(0.02)
    assert concurrency.limit <= full // 2 + 1
    for _ in range(10_000):
        concurrency.answered(0.02)
    assert concurrency.limit == full


@given(
    st.integers(1, 500),
    st.lists(st.one_of(st.none(), st.floats(0, 60)), max_size=100),
)
def test_the_limit_stays_within_its_bounds(most: int, events: list[float | None]) -> None:
    """At least one call is allowed, and never more than the maximum."""
    concurrency = Concurrency(most)
    for latency_s in events:
        if latency_s is None:
            concurrency.throttled()
        else:
            concurrency.answered(latency_s)
        assert 1 <= concurrency.limit <= most
