"""When a workload must end, given the time left and the function's variables."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lambda_executor.contract.errors import ConfigError
from lambda_executor.contract.options import KILL_MARGIN_S, STOP_MARGIN_S
from lambda_image.deadline import RESERVE_S, Margins


def margins(stop: str | None = None, kill: str | None = None) -> Margins:
    """Read margins from a function's variables."""
    given = {STOP_MARGIN_S.environment_variable: stop, KILL_MARGIN_S.environment_variable: kill}
    return Margins.from_environment({k: v for k, v in given.items() if v is not None})


@pytest.mark.parametrize(
    ("set_to", "time_out_s", "stop_s", "kill_s"),
    [
        ((None, None), 1800, 20, 8),
        ((None, None), 900, 20, 8),
        ((None, None), 80, 20, 8),
        ((None, None), 40, 10, 4),
        ((None, None), 16, 4, 2),
        ((None, None), 4, 3, 2),
        (("60", None), 900, 60, 8),
        (("10", None), 900, 10, 4),
        ((None, "4"), 900, 20, 4),
        ((None, "30"), 900, 75, 30),
        (("1799", None), 1800, 1799, 8),
        (("60", "15.5"), 900, 60, 15.5),
    ],
)
def test_a_margin_is_what_is_set_or_fits(
    set_to: tuple[str | None, str | None], time_out_s: float, stop_s: float, kill_s: float
) -> None:
    """A margin that is not set is the default, or less if the time-out is short."""
    deadline = margins(*set_to).deadline(time_out_s, 0)
    assert (deadline.stop_margin_s, deadline.kill_margin_s) == pytest.approx((stop_s, kill_s))


seconds = st.none() | st.floats(2, 1800)


@given(time_out_s=st.floats(3.5, 1800), now_s=st.floats(0, 1e6), stop_s=seconds, kill_s=seconds)
def test_a_deadline_leaves_time_for_everything(
    time_out_s: float, now_s: float, stop_s: float | None, kill_s: float | None
) -> None:
    """Stop, kill, give up and end come in this order; the result has a second."""
    try:
        taken = margins(*(None if s is None else str(s) for s in (stop_s, kill_s)))
        deadline = taken.deadline(time_out_s, now_s)
    except ConfigError:
        assert (stop_s, kill_s) != (None, None), "the defaults fit"
        return
    order = [
        now_s,
        deadline.times.stop_at_s,
        deadline.times.kill_at_s,
        deadline.give_up_at_s,
        deadline.end_at_s,
    ]
    assert order == sorted(set(order))
    assert deadline.end_at_s - RESERVE_S - deadline.give_up_at_s >= 1 - 1e-6
    assert deadline.give_up_at_s - deadline.times.kill_at_s >= 0.8 - 1e-6
    assert now_s < deadline.start_by_s <= deadline.times.stop_at_s
    assert deadline.times.kill_at_s <= deadline.notify_by_s < deadline.give_up_at_s


@pytest.mark.parametrize(
    ("time_out_s", "token_ends_at_s", "start_by_s"),
    [
        (1800, None, 280),
        (900, None, 280),
        (300, None, 250),
        (60, None, 130),
        (900, 150, 150),
        (900, 5000, 280),
    ],
)
def test_a_start_is_waited_for_as_long_as_it_can_help(
    time_out_s: float, token_ends_at_s: float | None, start_by_s: float
) -> None:
    """Half of the time-out, at most 180 s, and never past the token; the clock is at 100 s."""
    deadline = margins().deadline(time_out_s, 100)
    if token_ends_at_s is not None:
        deadline = replace(deadline, token_ends_at_s=token_ends_at_s)
    assert deadline.start_by_s == start_by_s


@pytest.mark.parametrize(
    ("stop", "kill", "says"),
    [
        ("x", None, "STOP_MARGIN_S is 'x': set it to a number of seconds"),
        ("0", None, "STOP_MARGIN_S is '0'"),
        ("-1", None, "STOP_MARGIN_S is '-1'"),
        ("nan", None, "STOP_MARGIN_S is 'nan'"),
        ("1800", None, "STOP_MARGIN_S is '1800'"),
        ("2.9", None, "STOP_MARGIN_S is '2.9': set it to a number of seconds from 3 to 1799"),
        (None, "1.9", "KILL_MARGIN_S is '1.9': set it to a number of seconds from 2 to 1799"),
        (None, "inf", "KILL_MARGIN_S is 'inf'"),
        ("8", "20", "STOP_MARGIN_S is 8 and AIRFLOW__LAMBDA_EXECUTOR__KILL_MARGIN_S is 20"),
    ],
)
def test_what_can_never_work_is_told_at_once(stop: str | None, kill: str | None, says: str) -> None:
    """Such a value fails the init phase; the error names it and its variable."""
    with pytest.raises(ConfigError) as error:
        margins(stop, kill)
    assert says in str(error.value)


def test_the_reason_names_lambdas_limit_and_that_of_some_regions() -> None:
    """Who reads that a task was stopped learns how far the time-out can be raised."""
    assert (
        "(Lambda's limit is 1800 s, in some Regions 900 s)" in margins().deadline(60, 0).stop_reason
    )


@pytest.mark.parametrize("set_to", [("899", "8"), (None, "400")])
def test_a_margin_as_long_as_the_time_out_is_told(set_to: tuple[str | None, str | None]) -> None:
    """The error names the time-out, both margins and what to change."""
    with pytest.raises(ConfigError, match=r"leaves 899\.0 s.*raise the time-out, or lower"):
        margins(*set_to).deadline(899, 0)


def test_a_time_out_that_is_too_short_for_any_margin_is_told() -> None:
    """Nothing is started if its end could not be reported."""
    with pytest.raises(ConfigError, match=r"leaves 3\.0 s.*killed 2 s before.*raise the time-out"):
        margins().deadline(3, 0)
