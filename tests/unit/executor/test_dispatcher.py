"""Invocations are sent in order, and one that fails does not delay the others."""

from __future__ import annotations

import dataclasses
import threading
from collections.abc import Mapping
from typing import Any

import pytest

from lambda_executor.contract.errors import (
    AwsError,
    CredentialsError,
    DeniedError,
    ExpiredError,
    InDoubtError,
    LambdaExecutorError,
    RejectedError,
    ThrottledError,
    TransientError,
    UnreachableError,
)
from lambda_executor.contract.wire import Invocation, InvocationId
from lambda_executor.core.apis import BATCH, ECS
from lambda_executor.core.dispatch import Dispatch, Envelope, InDoubt, Refused, Sent
from lambda_executor.core.dispatch_queue import DENIED_S, DispatchQueue
from lambda_executor.core.targets import FunctionTarget, JobTarget, Service
from lambda_executor.engine.dispatcher import Dispatcher
from lambda_executor.testing import MemoryFunction, MemoryJobs
from tests.support import threads

HUGE = JobTarget("huge", Service.ECS, "{}")


def dispatch(name: str) -> Dispatch:
    """An invocation that a function accepts."""
    id = InvocationId(name)
    payload = Invocation.for_workload(id, "{}").encode()
    return Dispatch(id, lambda: Envelope(FunctionTarget("function"), payload))


class Slow(MemoryFunction):
    """A function that answers when so many invokes are under way together."""

    def __init__(self, together: int) -> None:
        super().__init__()
        self.has_begun = threading.Event()
        self._together = threading.Barrier(together, timeout=10)

    def invoke(self, target: FunctionTarget, payload: bytes) -> None:
        """Wait for the others."""
        self.has_begun.set()
        self._together.wait()
        super().invoke(target, payload)


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


def test_throttling_costs_no_attempt(queue: DispatchQueue) -> None:
    """A throttled invocation keeps its place, with no limit on throttles."""
    now_s = 0.0
    for _ in range(100):
        now_s += queue.wait_s(now_s) or 0
        first = queue.pop(now_s)
        assert first is not None
        assert queue.failed(first, ThrottledError("429"), now_s) is None
    first = queue.pop(now_s + 60)
    assert first is not None
    assert first.dispatch.id == "a"


def test_one_throttle_stops_nothing(queue: DispatchQueue) -> None:
    """The next is sent at once."""
    first = queue.pop(0)
    assert first is not None
    queue.failed(first, ThrottledError("429"), 0)
    assert queue.wait_s(0) == 0


@pytest.mark.parametrize(
    ("error", "log"),
    [
        (UnreachableError("Could not connect"), "Lambda cannot be reached (check DNS, the route"),
        (CredentialsError("Unable to locate credentials"), "AWS credentials do not work"),
    ],
)
def test_an_error_that_all_would_share_pauses_all_and_costs_no_attempt(
    queue: DispatchQueue, caplog: pytest.LogCaptureFixture, error: AwsError, log: str
) -> None:
    """Nothing is refused for as long as it lasts; the log names the cause and what waits."""
    now_s = 0.0
    for _ in range(50):
        now_s += queue.wait_s(now_s) or 0
        first = queue.pop(now_s)
        assert first is not None
        assert queue.failed(first, error, now_s) is None
        assert queue.pop(now_s) is None
    assert log in caplog.text
    assert "nothing is sent, 3 invocations wait, next try in" in caplog.text
    assert order(queue, now_s + 30) == "abc"


def test_sends_under_way_together_that_fail_are_one_pause(queue: DispatchQueue) -> None:
    """Also if some of them fail after the pause."""
    waiting = [queue.pop(0) for _ in range(3)]
    for now_s, one in zip((1, 1, 2), waiting, strict=True):
        assert one is not None
        queue.failed(one, UnreachableError("refused"), now_s)
    assert queue.wait_s(2) == 0


def test_after_a_pause_one_send_finds_out_for_all(queue: DispatchQueue) -> None:
    """The others follow as soon as it succeeds; then the next pause is a short one again."""
    for now_s in (0.0, 1.0, 3.0):
        first = queue.pop(now_s)
        assert first is not None
        queue.failed(first, UnreachableError("refused"), now_s)
    first = queue.pop(7)
    assert first is not None
    assert queue.pop(7) is None
    assert queue.succeeded(first, 7.1) == Sent(InvocationId("a"), 7.1)
    second, third = queue.pop(7.1), queue.pop(7.1)
    assert second is not None
    assert third is not None
    queue.failed(second, UnreachableError("refused"), 7.2)
    queue.failed(third, UnreachableError("refused"), 7.2)
    assert queue.wait_s(7.2) == pytest.approx(1)


def test_a_transient_failure_delays_one_invocation(queue: DispatchQueue) -> None:
    """The others are sent; it is sent later, as often as that takes."""
    first = queue.pop(0)
    assert first is not None
    assert queue.failed(first, TransientError("409"), 0) is None
    assert order(queue, 0) == "bc"
    for number in range(1, 50):
        assert queue.pop(100 * number) is first
        assert queue.failed(first, TransientError("409"), 100 * number) is None
    assert order(queue, 1e6) == "a"


def test_what_lambda_may_have_taken_is_in_doubt_after_the_last_attempt(
    queue: DispatchQueue,
) -> None:
    """It is not refused: its task may run."""
    first = queue.pop(0)
    assert first is not None
    assert queue.failed(first, InDoubtError("read time-out"), 0) is None
    assert order(queue, 0) == "bc"
    assert queue.pop(1) is first
    assert queue.failed(first, InDoubtError("reset"), 1) == InDoubt(
        InvocationId("a"), "the invoke failed 2 times (max_invoke_attempts), last: reset"
    )


def test_a_lambda_in_trouble_puts_few_invocations_in_doubt() -> None:
    """A minute of server errors pauses all sends; what waits is sent after it."""
    queue = DispatchQueue(max_attempts=3, most_under_way=16, uniform=upper)
    for number in range(500):
        queue.push(dispatch(f"{number:03}"), 0)
    in_doubt, sent, now_s = 0, 0, 0.0
    while (wait_s := queue.wait_s(now_s)) is not None:
        now_s += wait_s
        under_way = []
        while waiting := queue.pop(now_s):
            under_way.append(waiting)
        now_s += 0.02
        for waiting in under_way:
            if now_s < 60:
                outcome = queue.failed(waiting, InDoubtError("500"), now_s)
                in_doubt += isinstance(outcome, InDoubt)
            else:
                queue.succeeded(waiting, now_s)
                sent += 1
    assert in_doubt <= 16
    assert sent == 500 - in_doubt


@pytest.mark.parametrize("error", [RejectedError("404"), ExpiredError("too late")])
def test_what_lambda_may_have_taken_is_never_refused(
    queue: DispatchQueue, error: LambdaExecutorError
) -> None:
    """A later try that was certainly not taken says nothing about an earlier one."""
    first = queue.pop(0)
    assert first is not None
    queue.failed(first, InDoubtError("reset"), 0)
    order(queue, 0)
    assert queue.pop(1) is first
    assert isinstance(queue.failed(first, error, 1), InDoubt)


def test_what_waited_too_long_names_what_it_waited_for(queue: DispatchQueue) -> None:
    """The reason of a refusal has the error of the last send, its own or another's."""
    first = queue.pop(0)
    assert first is not None
    queue.failed(first, UnreachableError("connection refused"), 0)
    again = queue.pop(60)
    assert again is not None
    refused = queue.failed(again, ExpiredError("its token ran out"), 60)
    assert refused == Refused(
        InvocationId("a"), "its token ran out. The last send failed: connection refused"
    )


def test_a_permanent_error_fails_at_once(queue: DispatchQueue) -> None:
    """The reason is AWS's error."""
    first = queue.pop(0)
    assert first is not None
    assert queue.failed(first, RejectedError("Function not found: x"), 0) == Refused(
        InvocationId("a"), "Function not found: x"
    )


def test_a_denied_send_is_tried_again_for_a_minute(queue: DispatchQueue) -> None:
    """Permissions that were just given do not work at once; missing ones fail with AWS's words."""
    denied = DeniedError(
        "not authorized to perform: lambda:InvokeFunction", "AccessDeniedException"
    )
    first = queue.pop(0)
    assert first is not None
    assert queue.failed(first, denied, 0) is None
    assert order(queue, 0) == "bc", "the others may have another target"
    again = queue.pop(DENIED_S / 2)
    assert again is first
    assert queue.failed(again, denied, DENIED_S / 2) is None
    last = queue.pop(DENIED_S)
    assert last is first
    assert queue.failed(last, denied, DENIED_S) == Refused(InvocationId("a"), str(denied))


def test_an_invocation_that_is_no_longer_wanted_is_not_sent(queue: DispatchQueue) -> None:
    """One that is revoked while it waits has no outcome."""
    wanted = {"d"}
    queue.push(Dispatch(InvocationId("d"), dispatch("d").prepare, wanted=lambda: "d" in wanted), 0)
    *_, last = [queue.pop(0) for _ in range(4)]
    assert last is not None
    assert queue.failed(last, TransientError("409"), 0) is None
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
    function = Slow(4)
    dispatcher = Dispatcher(function, threads=4, max_attempts=1)
    dispatcher.start()
    dispatcher.submit(map(dispatch, "abcd"))
    assert dispatcher.drain(10) == 0
    dispatcher.close(10)
    assert sorted(i.id for i in function.invocations) == list("abcd")
    assert sum(t.name.startswith("lambda-dispatch") for t in threading.enumerate()) == 0


def test_an_invoke_that_waits_does_not_hold_up_what_is_submitted_later() -> None:
    """A thread is there to send it, though nothing was queued when the wait began."""
    function = Slow(2)
    dispatcher = Dispatcher(function, threads=4, max_attempts=1)
    dispatcher.start()
    dispatcher.submit([dispatch("a")])
    assert function.has_begun.wait(10)
    dispatcher.submit([dispatch("b")])
    assert dispatcher.drain(20) == 0
    dispatcher.close(10)
    assert sorted(i.id for i in function.invocations) == ["a", "b"]


def test_threads_are_added_while_the_rate_holds_sends_back() -> None:
    """Sends that may not begin at the same moment are still under way at the same time."""
    function = Slow(8)
    dispatcher = Dispatcher(function, threads=8, max_attempts=1)
    dispatcher.start()
    dispatcher.submit(map(dispatch, "abcdefgh"))
    assert dispatcher.drain(10) == 0
    dispatcher.close(10)
    assert sorted(i.id for i in function.invocations) == list("abcdefgh")


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


@pytest.mark.parametrize(("step", "kind"), [("prepare", Refused), ("invoke", InDoubt)])
def test_an_unexpected_exception_fails_one_invocation_and_not_the_thread(
    step: str, kind: type[Refused | InDoubt]
) -> None:
    """The exception is that invocation's reason; after the request it leaves Lambda in doubt."""

    def broken() -> Envelope:
        raise KeyError("surprise")

    class Broken(MemoryFunction):
        def invoke(self, target: FunctionTarget, payload: bytes) -> None:
            if b'"bad"' in payload:
                broken()
            super().invoke(target, payload)

    bad = dispatch("bad")
    if step == "prepare":
        bad = dataclasses.replace(bad, prepare=broken)
    function = Broken()
    dispatcher = Dispatcher(function, threads=1, max_attempts=1)
    dispatcher.start()
    dispatcher.submit([bad, dispatch("good")])
    assert dispatcher.drain(10) == 0
    dispatcher.close(10)
    outcome, sent = dispatcher.outcomes()
    assert isinstance(outcome, kind)
    assert "KeyError('surprise')" in outcome.reason
    assert isinstance(sent, Sent)


class SlowJobs(MemoryJobs):
    """A service that answers when so many launches are under way together."""

    def __init__(self, together: int) -> None:
        super().__init__()
        self._together = threading.Barrier(together, timeout=10)

    def launch(
        self, target: JobTarget, id: InvocationId, event: bytes, overrides: Mapping[str, Any]
    ) -> None:
        """Wait for the others."""
        self._together.wait()
        super().launch(target, id, event, overrides)


def launch(name: str, target: JobTarget) -> Dispatch:
    """An invocation that is a job."""
    return dataclasses.replace(
        dispatch(name), prepare=lambda: dataclasses.replace(dispatch(name).prepare(), target=target)
    )


def test_a_launch_that_waits_leaves_a_thread_that_launches_the_next() -> None:
    """Each launch holds its thread until the service answers."""
    service = SlowJobs(2)
    dispatcher = Dispatcher(MemoryFunction(), service.launch, api=ECS, threads=4, max_attempts=1)
    dispatcher.start()
    dispatcher.submit(launch(name, HUGE) for name in "ab")
    assert dispatcher.drain(10) == 0
    dispatcher.close(10)
    assert sorted(each.id for each in service.launches) == ["a", "b"]
    assert {type(outcome) for outcome in dispatcher.outcomes()} == {Sent}


def test_a_launch_that_fails_unexpectedly_is_in_doubt() -> None:
    """The job may run, and nobody knows; the thread launches the next one."""

    class Broken(MemoryJobs):
        def launch(self, *_: object) -> None:
            raise KeyError("tasks")

    dispatcher = Dispatcher(MemoryFunction(), Broken().launch, api=BATCH, threads=1, max_attempts=1)
    dispatcher.start()
    dispatcher.submit([launch("a", HUGE), launch("b", HUGE)])
    assert dispatcher.drain(10) == 0
    dispatcher.close(10)
    assert [type(outcome) for outcome in dispatcher.outcomes()] == [InDoubt, InDoubt]
