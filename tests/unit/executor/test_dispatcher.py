"""Invocations are sent in order, and one that fails does not delay the others."""

from __future__ import annotations

import threading

import pytest

from lambda_executor.contract.errors import (
    CredentialsError,
    RejectedError,
    ThrottledError,
    TransientError,
)
from lambda_executor.contract.wire import Invocation, InvocationId
from lambda_executor.core.dispatch_queue import Dispatch, DispatchQueue, Envelope, Refused, Sent
from lambda_executor.core.routing import Target
from lambda_executor.engine.dispatcher import Dispatcher
from lambda_executor.testing import MemoryFunction
from tests.support import threads


def dispatch(name: str) -> Dispatch:
    """An invocation that a function accepts."""
    id = InvocationId(name)
    payload = Invocation.for_workload(id, "{}").encode()
    return Dispatch(id, lambda: Envelope(Target("function"), payload))


def upper(_low: float, high: float) -> float:
    """Jitter that is always the longest wait."""
    return high


@pytest.fixture
def queue() -> DispatchQueue:
    """Three invocations, submitted at second 0."""
    queue = DispatchQueue(max_attempts=2, most_under_way=16, uniform=upper)
    for name in "abc":
        queue.push(dispatch(name), 0)
    return queue


def order(queue: DispatchQueue, now_s: float) -> str:
    """The invocations that may be sent now, in order, if each send succeeds."""
    left = ""
    while waiting := queue.pop(now_s):
        queue.succeeded(waiting, now_s)
        left += waiting.dispatch.id
    return left


def test_submission_order_is_kept(queue: DispatchQueue) -> None:
    """The scheduler's priority order is the order of sending."""
    assert order(queue, 0) == "abc"
    assert queue.wait_s(0) is None


def test_throttling_pauses_all_and_costs_no_attempt(queue: DispatchQueue) -> None:
    """A throttled invocation keeps its place, with no limit on throttles."""
    for _ in range(20):
        now_s = queue.wait_s(0) or 0
        first = queue.pop(now_s)
        assert first is not None
        assert queue.failed(first, ThrottledError("429"), now_s) is None
        assert queue.pop(now_s) is None
    assert order(queue, 1e6) == "abc"


def test_a_burst_of_throttles_is_one_pause(queue: DispatchQueue) -> None:
    """Throttles of invokes that were under way together do not multiply the wait."""
    waiting = [queue.pop(0) for _ in range(3)]
    for one in waiting:
        assert one is not None
        queue.failed(one, ThrottledError("429"), 0)
    assert queue.wait_s(0) == pytest.approx(0.2)
    assert order(queue, 0.2) == "abc"


def test_success_ends_the_pauses(queue: DispatchQueue) -> None:
    """After a success the next throttle starts from the shortest wait again."""
    for now_s in (0.0, 1.0, 3.0):
        first = queue.pop(now_s)
        assert first is not None
        queue.failed(first, ThrottledError("429"), now_s)
    first = queue.pop(100)
    assert first is not None
    assert queue.succeeded(first, 100) == Sent(InvocationId("a"), 100)
    second = queue.pop(100)
    assert second is not None
    queue.failed(second, ThrottledError("429"), 100)
    assert queue.wait_s(100) == pytest.approx(0.2)


def test_a_transient_failure_delays_one_invocation(queue: DispatchQueue) -> None:
    """The others are sent, and the attempts are bounded."""
    first = queue.pop(0)
    assert first is not None
    assert queue.failed(first, TransientError("503"), 0) is None
    assert order(queue, 0) == "bc"
    again = queue.pop(1)
    assert again is first
    refused = queue.failed(again, TransientError("503"), 1)
    assert refused == Refused(
        InvocationId("a"), "the invoke failed 2 times (max_invoke_attempts), last: 503"
    )


def test_a_permanent_error_fails_at_once(queue: DispatchQueue) -> None:
    """The reason is AWS's error."""
    first = queue.pop(0)
    assert first is not None
    assert queue.failed(first, RejectedError("Function not found: x"), 0) == Refused(
        InvocationId("a"), "Function not found: x"
    )


def test_missing_credentials_pause_all_and_are_logged(
    queue: DispatchQueue, caplog: pytest.LogCaptureFixture
) -> None:
    """No attempt is counted, and the log names the cause."""
    first = queue.pop(0)
    assert first is not None
    assert queue.failed(first, CredentialsError("Unable to locate credentials"), 0) is None
    assert queue.pop(0) is None
    assert "nothing is sent, 3 invocations wait" in caplog.text
    assert order(queue, 60) == "abc"


def test_an_invocation_that_is_no_longer_wanted_is_not_sent(queue: DispatchQueue) -> None:
    """One that is revoked while it waits has no outcome."""
    wanted = {"d"}
    queue.push(Dispatch(InvocationId("d"), dispatch("d").prepare, wanted=lambda: "d" in wanted), 0)
    *_, last = [queue.pop(0) for _ in range(4)]
    assert last is not None
    assert queue.failed(last, TransientError("503"), 0) is None
    wanted.clear()
    assert queue.pop(1e6) is None
    assert len(queue) == 0


def test_the_number_of_sends_under_way_is_bounded() -> None:
    """The next is sent when an earlier one succeeded or failed."""
    queue = DispatchQueue(max_attempts=1, most_under_way=2, uniform=upper)
    for name in "abcd":
        queue.push(dispatch(name), 0)
    first, second = queue.pop(0), queue.pop(0)
    assert first is not None
    assert second is not None
    assert queue.pop(0) is None
    assert queue.wait_s(0) is None
    queue.failed(first, RejectedError("404"), 0)
    assert queue.pop(0) is not None
    queue.succeeded(second, 1)
    assert queue.pop(1) is not None


def test_throttling_lowers_the_number_of_sends_under_way() -> None:
    """After the pause fewer are sent at once, until answers allow more."""
    queue = DispatchQueue(max_attempts=1, most_under_way=100, uniform=upper)
    for number in range(200):
        queue.push(dispatch(str(number)), 0)
    burst = [w for w in (queue.pop(0) for _ in range(100)) if w]
    for waiting in burst:
        queue.failed(waiting, ThrottledError("429"), 0)
    again = [w for w in (queue.pop(1) for _ in range(100)) if w]
    assert 0 < len(again) <= len(burst) / 2 + 1


def test_the_threads_send_everything_once() -> None:
    """Every submission reaches the function exactly once and has one outcome."""
    function = MemoryFunction()
    dispatcher = Dispatcher(function, threads=4, max_attempts=1)
    dispatcher.start()
    ids = [f"id-{n}" for n in range(200)]
    dispatcher.submit(map(dispatch, ids))
    assert dispatcher.drain(10) == 0
    dispatcher.close(10)
    assert sorted(i.id for i in function.invocations) == sorted(ids)
    assert sorted(o.id for o in dispatcher.outcomes()) == sorted(ids)


def test_threads_are_added_while_invokes_are_slow() -> None:
    """Slow invokes run in parallel, up to the bound."""
    together = threading.Barrier(4, timeout=10)

    class Slow(MemoryFunction):
        def invoke(self, target: Target, payload: bytes) -> None:
            together.wait()
            super().invoke(target, payload)

    function = Slow()
    dispatcher = Dispatcher(function, threads=4, max_attempts=1)
    dispatcher.start()
    dispatcher.submit(map(dispatch, "abcd"))
    assert dispatcher.drain(10) == 0
    dispatcher.close(10)
    assert sorted(i.id for i in function.invocations) == list("abcd")
    assert sum(t.name.startswith("lambda-dispatch") for t in threading.enumerate()) == 0


def test_a_machine_without_more_threads_loses_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    """The threads that could be started send everything."""
    function = MemoryFunction()
    dispatcher = Dispatcher(function, threads=4, max_attempts=1)
    dispatcher.start()
    threads.refuse(monkeypatch)
    dispatcher.submit(map(dispatch, "abcdefgh"))
    assert dispatcher.drain(10) == 0
    dispatcher.close(10)
    assert [i.id for i in function.invocations] == list("abcdefgh")


def test_one_thread_sends_in_order() -> None:
    """With one thread the function sees the submission order."""
    function = MemoryFunction()
    dispatcher = Dispatcher(function, threads=1, max_attempts=1)
    dispatcher.submit(map(dispatch, "cab"))
    dispatcher.start()
    assert dispatcher.drain(10) == 0
    dispatcher.close(10)
    assert [i.id for i in function.invocations] == ["c", "a", "b"]


def test_an_unexpected_exception_fails_one_invocation_and_not_the_thread() -> None:
    """The exception is that invocation's reason, and the next one is sent."""

    class Broken(MemoryFunction):
        def invoke(self, target: Target, payload: bytes) -> None:
            if b'"bad"' in payload:
                raise KeyError("surprise")
            super().invoke(target, payload)

    function = Broken()
    dispatcher = Dispatcher(function, threads=1, max_attempts=1)
    dispatcher.start()
    dispatcher.submit(map(dispatch, ["bad", "good"]))
    assert dispatcher.drain(10) == 0
    dispatcher.close(10)
    refused, sent = dispatcher.outcomes()
    assert isinstance(refused, Refused)
    assert "KeyError('surprise')" in refused.reason
    assert isinstance(sent, Sent)
