"""How far our clock is ahead of a server's."""

from __future__ import annotations

import math
import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lambda_executor.core.clocks import ANSWERS, ServerClock

#: When the tests begin, by the server's clock.
BEGIN_S = 1_800_000_000.0

#: Seconds from our question to the server's answer, from there to us, and to the next question.
ways = st.tuples(st.floats(0, 25), st.floats(0, 25), st.floats(0, 5))


def hear(clock: ServerClock, way: tuple[float, float, float], at_s: float, ahead_s: float) -> float:
    """Let one answer arrive; return the server's time of the next question."""
    there_s, back_s, pause_s = way
    date_s = at_s + there_s
    clock.heard(at_s + ahead_s, math.floor(date_s), date_s + back_s + ahead_s)
    return date_s + back_s + pause_s


@given(st.lists(ways, min_size=1, max_size=2 * ANSWERS))
def test_equal_clocks_are_never_taken_to_differ(answers: list[tuple[float, float, float]]) -> None:
    """However long questions and answers take: a busy machine is not a clock that is ahead."""
    clock, at_s = ServerClock(), BEGIN_S
    for way in answers:
        at_s = hear(clock, way, at_s, 0)
        assert clock.ours(BEGIN_S) == BEGIN_S


@pytest.mark.parametrize("ahead_s", [-3600, -30, -2, 2, 30, 3600])
@pytest.mark.parametrize("long_poll_s", [0, 20])
def test_the_difference_of_clocks_is_found(ahead_s: float, long_poll_s: float) -> None:
    """To a tenth of a second in a minute of receives, of which every second one is a long poll."""
    clock, at_s, drawn = ServerClock(), BEGIN_S, random.Random(1)
    for number in range(2 * ANSWERS):
        there_s = 0.01 + drawn.random() * (long_poll_s if number % 2 else 0.05)
        at_s = hear(clock, (there_s, 0.01, drawn.random()), at_s, ahead_s)
    assert clock.ours(BEGIN_S) == pytest.approx(BEGIN_S + ahead_s, abs=0.1)


@pytest.mark.parametrize(("before_s", "after_s"), [(0, 30), (30, 0), (-30, 0), (30, -30)])
def test_a_clock_that_is_set_is_noticed_with_the_next_answer(
    before_s: float, after_s: float
) -> None:
    """To a second, by the first one that was asked for since then."""
    clock, at_s = ServerClock(), BEGIN_S
    for ahead_s in [before_s] * ANSWERS + [after_s]:
        at_s = hear(clock, (0.01, 0.01, 0.37), at_s, ahead_s)
    assert clock.ours(BEGIN_S) == pytest.approx(BEGIN_S + after_s, abs=1.1)


def test_a_clock_that_is_set_back_while_we_wait_is_no_fault() -> None:
    """The answer arrives before it was asked for, and says nothing."""
    clock = ServerClock()
    clock.heard(BEGIN_S + 30, BEGIN_S, BEGIN_S + 0.1)
    assert clock.ours(BEGIN_S) == BEGIN_S
    hear(clock, (0.1, 0.1, 0), BEGIN_S, 30)
    assert clock.ours(BEGIN_S) == pytest.approx(BEGIN_S + 30, abs=1.1)
