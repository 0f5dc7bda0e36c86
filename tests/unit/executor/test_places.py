"""Places: who has one, how large the reserve is, and how much more should be accepted."""

from __future__ import annotations

import pytest

from lambda_executor.contract.wire import InvocationId
from lambda_executor.core.places import MOST_RESERVE, Limit, Places

FUNCTION = "function"


def places(most: int) -> Places:
    """The places of one function."""
    places = Places()
    places.limit({FUNCTION: Limit(FUNCTION, most)})
    return places


def fill(places: Places, now_s: float = 0, *, function: str = FUNCTION) -> list[InvocationId]:
    """Take every place that is free, the reserve included."""
    taken: list[InvocationId] = []
    while places.are_free(function, now_s):
        taken.append(InvocationId(f"{function}-{now_s}-{len(taken)}"))
        places.take(taken[-1], function, now_s)
    return taken


def after(places: Places, duration_s: float) -> int:
    """Return how many are in flight at once after a round of invocations of one duration."""
    for id in fill(places):
        places.ended(id, duration_s)
    return len(fill(places, duration_s))


def test_a_function_runs_no_more_than_its_limit() -> None:
    """While nothing is known about durations there is no reserve."""
    assert len(fill(places(8))) == 8


def test_a_function_of_which_nothing_is_known_has_a_place_for_everything() -> None:
    """No limit, and a limit that cannot be read, are the same."""
    unknown = Places()
    unknown.limit({FUNCTION: None})
    for number in range(10_000):
        assert unknown.are_free(FUNCTION, 0)
        unknown.take(InvocationId(str(number)), FUNCTION, 0)
    assert unknown.room({}, 0) == {}


def test_the_reserve_is_what_ends_on_the_way() -> None:
    """The way is that of the result and of the invoke, one and a half times, and 0.15 s."""
    assert after(places(8), 1) == 8 + 2
    slow = places(8)
    slow.invoked(1)
    assert after(slow, 2) == 8 + 5  # On average an invoke took 0.5 s, so a task took 1.5 s.


def test_long_invocations_need_no_reserve() -> None:
    """An idle moment between two of them is nothing; what is urgent starts with the next end."""
    assert after(places(8), 60) == 8


def test_the_reserve_is_at_most_a_multiple_of_the_places() -> None:
    """However short the invocations are: a long one may be among the next."""
    assert after(places(8), 0.001) == 8 + 8 * MOST_RESERVE


def test_a_place_with_a_long_invocation_adds_nothing_to_the_reserve() -> None:
    """The others' events would wait for its end in Lambda's queue, where they expire."""
    busy = places(2)
    for id in fill(busy):
        busy.ended(id, 0.1)
    stuck = [InvocationId("long-1"), InvocationId("long-2")]
    for id in stuck:
        busy.take(id, FUNCTION, 1)
    assert busy.are_free(FUNCTION, 2)
    assert not busy.are_free(FUNCTION, 60)


def test_a_change_from_short_invocations_to_long_ones_is_learned() -> None:
    """What ends after a long time counts too, so that nothing waits behind the next long ones."""
    changed = places(50)
    for id in fill(changed):
        changed.ended(id, 0.05)
    short = fill(changed, 1)
    for id in short[:50]:
        changed.ended(id, 1.05)
    long = fill(changed, 2)
    changed.room({}, 300)
    for id in [*short[50:], *long]:
        changed.ended(id, 602)
    assert len(fill(changed, 602)) == 50
    assert changed.room({}, 602) == {Limit(FUNCTION, 50): 0}


def test_a_place_is_free_again_when_its_invocation_ends_in_any_way() -> None:
    """It has ended, or was not taken; a second report frees nothing."""
    busy = places(2)
    ended, failed = fill(busy)
    busy.ended(ended, 60)
    busy.ended(ended, 60)
    busy.free(failed)
    assert len(fill(busy, 60)) == 2


def test_functions_that_share_the_accounts_limit_share_its_places() -> None:
    """The one may take what the other leaves."""
    account = Limit("the account", 10)
    shared = Places()
    shared.limit({"small": account, "large": account, "own": Limit("own", 1)})
    for number in range(4):
        shared.take(InvocationId(str(number)), "small", 0)
    assert len(fill(shared, function="large")) == 6
    assert not shared.are_free("small", 0)
    assert shared.are_free("own", 0)


def test_a_limit_that_is_learned_later_counts_what_is_in_flight() -> None:
    """Until then everything was sent."""
    late = Places()
    for number in range(12):
        late.take(InvocationId(str(number)), FUNCTION, 0)
    late.limit({FUNCTION: Limit(FUNCTION, 8)})
    assert not late.are_free(FUNCTION, 0)
    for number in range(5):
        late.ended(InvocationId(str(number)), 600)
    assert late.are_free(FUNCTION, 600)


def test_what_an_adopted_invocation_takes_is_not_measured() -> None:
    """Nobody here knows since when it runs."""
    adopted = places(1)
    adopted.take(InvocationId("adopted"), FUNCTION, None)
    assert not adopted.are_free(FUNCTION, 0)
    adopted.ended(InvocationId("adopted"), 0.1)
    assert len(fill(adopted, 0.1)) == 1


def test_the_room_is_what_ends_until_the_schedulers_next_loops() -> None:
    """It has a place, or gets one within three seconds; what waits already is subtracted."""
    busy = places(8)
    (room,) = busy.room({}, 0).values()
    assert room == 8
    for id in fill(busy):
        busy.ended(id, 1)
    fill(busy, 1)
    (room,) = busy.room({FUNCTION: 6}, 1).values()
    assert room == 24 - 6


@pytest.mark.parametrize("result_s", [0.5, 0.9, 1.1, 1.5, 2.0])
def test_the_reserve_grows_with_the_way_of_the_results(result_s: float) -> None:
    """Also beyond a second, and if all results take as long: a busy machine needs the reserve most.

    Taken for clocks that differ, results of 1.1 s had left 13 in the reserve instead of 373.
    """
    busy = places(100)
    for _ in range(3):
        for id in fill(busy):
            busy.ended(id, 0.5 + result_s, result_s)
    reserve = len(fill(busy, 60)) - 100
    # In so much of the way each place ends an invocation of 0.5 s.
    assert reserve == pytest.approx(100 * ((1.5 * result_s + 0.15) / 0.5 - 0.02), abs=2)


def test_what_was_in_the_queue_while_no_scheduler_ran_counts_as_five_seconds() -> None:
    """Nobody was there to receive it, and a clock may have been set back."""
    reserves = []
    for result_s in (-60, 0, 5, 3600):
        restarted = places(100)
        for id in fill(restarted):
            restarted.ended(id, 60 + min(5, max(0, result_s)), result_s)
        reserves.append(len(fill(restarted, 120)))
    assert reserves[0] == reserves[1]
    assert reserves[2] == reserves[3]
