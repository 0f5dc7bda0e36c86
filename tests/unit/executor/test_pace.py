"""The number of calls under way follows rate and latency; throttles lower the rate in good time."""

from __future__ import annotations

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lambda_executor.core import apis
from lambda_executor.core.apis import LAMBDA, Api
from lambda_executor.core.pace import EXCESS, SAMPLE, Pace


def after(latency_s: float, *, answers: int = 400, most: int = 1000) -> Pace:
    """The state after a number of answers with the same latency."""
    pace = Pace(most)
    for _ in range(answers):
        pace.answered(0, latency_s)
    return pace


def answer(pace: Pace, began_s: float, throttles: int, of: int) -> None:
    """Answer calls after a tenth of a second, with evenly spread throttles."""
    for number in range(of):
        if (number + 1) * throttles // of > number * throttles // of:
            pace.throttled(began_s, began_s + 0.1)
        else:
            pace.answered(began_s, began_s + 0.1)


def test_ten_times_the_latency_takes_ten_times_the_calls() -> None:
    """The target rate does not depend on the latency."""
    assert after(0.02).limit == LAMBDA.most_per_s * 0.02
    assert after(0.2).limit == LAMBDA.most_per_s * 0.2


def test_the_fastest_of_the_recent_answers_counts() -> None:
    """Calls that waited for a processor must not call for more calls."""
    pace = after(0.02)
    for _ in range(50):
        pace.answered(0, 0.5)
    assert pace.limit == LAMBDA.most_per_s * 0.02


def test_a_latency_that_stays_is_followed() -> None:
    """Old answers are forgotten, in both directions."""
    pace = after(0.02)
    for latency_s in (0.2, 0.05):
        for _ in range(100):
            pace.answered(0, latency_s)
        assert pace.limit == pytest.approx(LAMBDA.most_per_s * latency_s, abs=1)


def test_calls_begin_at_the_rate() -> None:
    """In each second as many may begin, evenly; a thread that wakes late loses nothing."""
    pace = after(0.02)
    begun = 0
    for millisecond in range(1000):
        now_s = 100 + millisecond / 1000
        while millisecond % 5 == 0 and pace.wait_s(now_s) == 0:
            pace.began(now_s)
            begun += 1
    assert begun == pytest.approx(LAMBDA.most_per_s, rel=0.03)


@pytest.mark.parametrize("api", apis.JOBS.values(), ids=lambda api: api.name)
def test_a_thread_that_wakes_late_loses_no_call(api: Api) -> None:
    """Late by up to the time until the next call, over and over."""
    pace, drawn = Pace(50, api), random.Random(0)
    now_s, begun = 0.0, 0
    while now_s < 60:
        if wait_s := pace.wait_s(now_s):
            now_s += wait_s + drawn.uniform(0, 1 / api.most_per_s)
        pace.began(now_s)
        begun += 1
    assert begun == pytest.approx(60 * api.most_per_s, rel=0.02)


def test_functions_that_may_run_much_are_sent_much_from_the_start() -> None:
    """What is known of the functions raises the first rate, never lowers it, up to the most."""
    rates = []
    for at_once in (0, 10, 80, 1000):
        pace = Pace(1000)
        pace.expect(at_once)
        rates.append(pace.per_s)
    assert rates == [LAMBDA.first_per_s, LAMBDA.first_per_s, 800, LAMBDA.most_per_s]


def test_what_is_expected_does_not_count_against_throttles() -> None:
    """Once a send was throttled, only the answers say how fast to send."""
    pace = Pace(1000)
    answer(pace, 0, throttles=50, of=100)
    per_s = pace.per_s
    pace.expect(1000)
    assert pace.per_s == per_s


def test_a_few_throttles_do_not_lower_the_rate() -> None:
    """They may be chance."""
    pace = after(0.02)
    answer(pace, 1, EXCESS, of=EXCESS * 40)
    assert pace.per_s == LAMBDA.most_per_s


def test_the_rate_falls_once_in_a_round_trip() -> None:
    """Calls that began before the rate fell say nothing about the lower rate."""
    pace = after(0.02)
    answer(pace, 1, 50, of=100)
    once = pace.per_s
    assert once < LAMBDA.most_per_s
    answer(pace, 1, 500, of=1000)
    assert pace.per_s == pytest.approx(once, rel=0.05)


def test_a_fall_that_helps_lasts() -> None:
    """At a lower rate without throttles the rate rises slowly, to its maximum again."""
    pace = after(0.02)
    answer(pace, 1, 10, of=20)
    fallen = pace.per_s
    answer(pace, 2, 0, of=SAMPLE)
    assert pace.per_s == pytest.approx(fallen, rel=0.05)
    answer(pace, 3, 0, of=40_000)
    assert pace.per_s == LAMBDA.most_per_s


def test_a_fall_that_does_not_help_is_taken_back() -> None:
    """The same share of throttles at a lower rate is not about the rate; then it is usual."""
    pace = after(0.02)
    answer(pace, 1, 25, of=100)
    assert pace.per_s < LAMBDA.most_per_s
    answer(pace, 2, SAMPLE // 4, of=SAMPLE)
    assert pace.per_s == LAMBDA.most_per_s
    answer(pace, 3, 250, of=1000)
    assert pace.per_s == LAMBDA.most_per_s


def test_more_than_half_is_never_usual() -> None:
    """Whoever throttles most of the calls wants fewer, whatever the reason."""
    pace = after(0.02)
    for second in range(20):
        answer(pace, second, 60, of=100)
    assert pace.per_s < LAMBDA.most_per_s / 20


def test_a_series_of_throttles_means_that_nothing_is_taken() -> None:
    """The caller then stops for a while."""
    pace = after(0.02)
    series = [pace.throttled(1, 1) for _ in range(10)]
    assert series.count(True) == 1
    assert series.index(True) <= EXCESS


@given(
    st.integers(1, 500),
    st.lists(st.tuples(st.booleans(), st.floats(0, 60)), max_size=200),
)
def test_the_limit_stays_within_its_bounds(most: int, events: list[tuple[bool, float]]) -> None:
    """At least one call is allowed, and never more than the maximum."""
    pace, now_s = Pace(most), 0.0
    for is_throttled, latency_s in events:
        began_s, now_s = now_s, now_s + latency_s
        if is_throttled:
            pace.throttled(began_s, now_s)
        else:
            pace.answered(began_s, now_s)
        assert 1 <= pace.limit <= most
        assert 0 < pace.per_s <= LAMBDA.most_per_s
