"""The order in which invocations leave while their functions are full."""

from __future__ import annotations

from lambda_executor.contract.errors import (
    ExpiredError,
    RejectedError,
    ThrottledError,
    UnreachableError,
)
from lambda_executor.contract.wire import InvocationId
from lambda_executor.core.dispatch import Dispatch, Envelope, Outlived, Refused
from lambda_executor.core.dispatch_queue import DispatchQueue
from lambda_executor.core.places import Limit
from lambda_executor.core.targets import FunctionTarget

#: Long enough for the next send to be due, and short enough for the next invocation.
TICK_S = 10.0


def dispatch(name: str, function: str = "small", priority: float = 0) -> Dispatch:
    """One invocation of a function."""
    envelope = Envelope(FunctionTarget(function), b"")
    return Dispatch(InvocationId(name), lambda: envelope, target_name=function, priority=priority)


def queue(*dispatches: Dispatch) -> DispatchQueue:
    """A queue before functions with one place (small) and two (large)."""
    queue = DispatchQueue(1, most_under_way=16, uniform=max)
    queue.limit({"small": Limit("small", 1), "large": Limit("large", 2)})
    for each in dispatches:
        queue.push(each, 0)
    return queue


def leave(queue: DispatchQueue, now_s: float) -> list[str]:
    """Send all that may leave within a few ticks; return their names in order."""
    names = []
    for tick in range(5):
        if waiting := queue.pop(now_s + tick * TICK_S / 10):
            queue.succeeded(waiting, now_s + tick * TICK_S / 10)
            names.append(str(waiting.dispatch.id))
    return names


def test_the_highest_priority_leaves_first_and_equals_in_their_order() -> None:
    """As `priority_weight` has it."""
    names = ["a", "b", "c", "d"]
    ordered = queue(*(dispatch(n, priority=p) for n, p in zip(names, (1, 2, 2, 3), strict=True)))
    left = []
    for turn in range(4):
        (name,) = leave(ordered, turn * 60)
        left.append(name)
        ordered.ended(InvocationId(name), turn * 60 + 50)
    assert left == ["d", "b", "c", "a"]


def test_what_is_urgent_leaves_before_all_that_wait() -> None:
    """A callback that comes last takes the next free place."""
    busy = queue(dispatch("first"), dispatch("second"), dispatch("third", priority=10))
    assert leave(busy, 0) == ["third"]
    busy.push(dispatch("callback", priority=float("inf")), 1)
    assert leave(busy, 10) == []
    busy.ended(InvocationId("third"), 60)
    assert leave(busy, 60) == ["callback"]


def test_a_full_function_does_not_hold_up_another() -> None:
    """Not even with higher priorities."""
    full = queue(*(dispatch(f"small-{n}", priority=9) for n in range(3)))
    assert leave(full, 0) == ["small-0"]
    full.push(dispatch("large", "large"), 1)
    assert leave(full, 10) == ["large"]
    assert full.held(10) == 2


def test_nothing_is_due_while_all_functions_are_full() -> None:
    """No thread wakes before an invocation ends."""
    full = queue(dispatch("first"), dispatch("second"))
    assert leave(full, 0) == ["first"]
    assert full.wait_s(10) is None
    full.ended(InvocationId("first"), 60)
    assert full.wait_s(60) == 0


def test_a_send_that_failed_gives_its_place_back() -> None:
    """Lambda did not take it."""
    refused = queue(dispatch("bad"), dispatch("good"))
    first = refused.pop(0)
    assert first is not None
    assert refused.pop(1) is None
    assert isinstance(refused.failed(first, RejectedError("404"), 1), Refused)
    assert leave(refused, 2) == ["good"]


def test_a_throttled_send_is_repeated_before_those_behind_it() -> None:
    """It gives its place back, and takes it again."""
    throttled = queue(dispatch("first"), dispatch("second"))
    first = throttled.pop(0)
    assert first is not None
    assert throttled.failed(first, ThrottledError("429"), 1) is None
    assert leave(throttled, 100) == ["first"]


def test_what_is_revoked_while_it_waits_makes_room() -> None:
    """And so does what was revoked while it ran."""
    revoked = queue(dispatch("first"), dispatch("second"), dispatch("third"))
    assert leave(revoked, 0) == ["first"]
    (before,) = (n for limit, n in revoked.room(10).items() if limit.name == "small")
    revoked.drop([InvocationId("first"), InvocationId("second"), InvocationId("not known")])
    (after,) = (n for limit, n in revoked.room(10).items() if limit.name == "small")
    assert after == before + 2
    assert leave(revoked, 10) == ["third"]


def test_all_leave_at_the_end() -> None:
    """The next scheduler does not know what was not sent."""
    ending = queue(dispatch("low"), dispatch("high", priority=1), dispatch("last", priority=-1))
    ending.lift_limits()
    assert leave(ending, 0) == ["high", "low", "last"]


def expire(late: DispatchQueue) -> object:
    """Send the next invocation, whose token has expired; return its outcome."""
    waiting = late.pop(600)
    assert waiting is not None
    return late.failed(waiting, ExpiredError("its token ran out"), 600)


def test_an_invocation_whose_token_expires_while_it_is_held_is_not_refused() -> None:
    """Nothing was wrong with it."""
    late = queue(dispatch("first"), dispatch("held"))
    assert leave(late, 0) == ["first"]
    late.ended(InvocationId("first"), 590)
    assert expire(late) == Outlived(InvocationId("held"), "its token ran out")


def test_an_invocation_that_comes_with_an_expired_token_is_refused() -> None:
    """It did not wait here."""
    assert expire(queue(dispatch("late"))) == Refused(InvocationId("late"), "its token ran out")


def test_an_invocation_whose_token_expires_after_a_failed_send_is_refused() -> None:
    """The reason names that failure."""
    late = queue(dispatch("first"))
    waiting = late.pop(0)
    assert waiting is not None
    late.failed(waiting, UnreachableError("connection refused"), 0)
    outcome = expire(late)
    assert isinstance(outcome, Refused)
    assert "connection refused" in outcome.reason
