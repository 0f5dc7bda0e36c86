"""Sends that begin without a wait need one thread; the others go on as before."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator

import pytest

from lambda_executor.contract.errors import (
    AwsError,
    CredentialsError,
    InDoubtError,
    RejectedError,
    ThrottledError,
    TransientError,
)
from lambda_executor.contract.wire import Invocation, InvocationId
from lambda_executor.core.dispatch import Dispatch, Envelope, Refused, Sent
from lambda_executor.core.targets import FunctionTarget
from lambda_executor.engine.dispatcher import Dispatcher
from lambda_executor.testing import MemoryFunction

Ended = Callable[[AwsError | None], None]


class Beginning(MemoryFunction):
    """A function whose answers the test gives.

    Attributes:
        begun: The payload of each send that has begun, and what its answer goes to.
        refuses: The next sends that it does not begin.
        senders: The threads that began a send.
    """

    def __init__(self) -> None:
        super().__init__()
        self.begun: list[tuple[bytes, Ended]] = []
        self.refuses = 0
        self.error: AwsError | None = None
        self.senders: set[int] = set()
        self._has_begun = threading.Condition()

    def begin(self, _target: FunctionTarget, payload: bytes, ended: Ended) -> bool:
        """Begin one send."""
        with self._has_begun:
            if self.error:
                raise self.error
            if self.refuses:
                self.refuses -= 1
                return False
            self.senders.add(threading.get_ident())
            self.begun.append((payload, ended))
            self._has_begun.notify_all()
            return True

    def wait_until(self, begun: int) -> None:
        """Wait until so many sends have begun."""
        with self._has_begun:
            assert self._has_begun.wait_for(lambda: len(self.begun) >= begun, 10)

    def sender(self) -> threading.Thread:
        """The only thread that began a send; it has not ended."""
        (sender,) = self.senders
        return next(thread for thread in threading.enumerate() if thread.ident == sender)


def dispatch(name: str, store: Callable[[], None] | None = None) -> Dispatch:
    """An invocation, perhaps with a payload to store first."""
    id = InvocationId(name)
    payload = Invocation.for_workload(id, "{}").encode()
    return Dispatch(id, lambda: Envelope(FunctionTarget("function"), payload, store))


@pytest.fixture
def function() -> Beginning:
    """The function."""
    return Beginning()


@pytest.fixture
def dispatcher(function: Beginning) -> Iterator[Dispatcher]:
    """A dispatcher that runs."""
    dispatcher = Dispatcher(function, threads=8, max_attempts=3)
    dispatcher.start()
    yield dispatcher
    dispatcher.close(0)


def test_one_thread_sends_all(function: Beginning, dispatcher: Dispatcher) -> None:
    """As many are under way as may be, and each answer ends its own."""
    dispatcher.submit([dispatch(name) for name in "abcdefgh"])
    function.wait_until(8)
    assert len(function.senders) == 1
    for _, ended in reversed(function.begun):
        ended(None)
    assert dispatcher.drain(10) == 0
    assert [outcome.id for outcome in dispatcher.outcomes()] == list("hgfedcba")
    assert function.invocations == []


def test_an_answer_lets_the_next_leave(function: Beginning, dispatcher: Dispatcher) -> None:
    """The ninth waits while eight are under way, and no longer."""
    dispatcher.submit([dispatch(name) for name in "abcdefghi"])
    function.wait_until(8)
    for _, ended in function.begun[:]:
        ended(None)
    function.wait_until(9)


def test_a_throttle_is_sent_again(function: Beginning, dispatcher: Dispatcher) -> None:
    """An error of the answer is judged like one of a send that waited."""
    dispatcher.submit([dispatch("a")])
    function.wait_until(1)
    function.begun[0][1](ThrottledError("429"))
    function.wait_until(2)
    function.begun[1][1](None)
    assert dispatcher.drain(10) == 0
    assert [type(outcome) for outcome in dispatcher.outcomes()] == [Sent]
    assert dispatcher.throttles() == 1


def test_what_has_begun_or_is_in_doubt_may_be_taken(
    function: Beginning, dispatcher: Dispatcher
) -> None:
    """At the end: not what was surely not taken. What has an outcome or is dropped is forgotten."""
    dispatcher.submit([dispatch(name) for name in "abcd"])
    function.wait_until(4)
    dispatcher.close(0)
    assert dispatcher.maybe_taken() == set("abcd")
    errors = (InDoubtError("500"), TransientError("409"), ThrottledError("429"), None)
    for (_, ended), error in zip(function.begun, errors, strict=True):
        ended(error)
    assert dispatcher.maybe_taken() == {"a"}
    assert [outcome.id for outcome in dispatcher.outcomes()] == ["d"]
    dispatcher.drop([InvocationId("a")])
    assert dispatcher.maybe_taken() == set()


def test_what_cannot_begin_is_sent_with_a_wait(function: Beginning, dispatcher: Dispatcher) -> None:
    """By `invoke`, once."""
    function.refuses = 1
    dispatcher.submit([dispatch("a")])
    assert function.wait_for(1)
    assert dispatcher.drain(10) == 0
    assert [type(outcome) for outcome in dispatcher.outcomes()] == [Sent]
    assert function.begun == []


def test_an_error_before_the_send_delays_and_fails_nothing(
    function: Beginning, dispatcher: Dispatcher
) -> None:
    """Without credentials everything waits."""
    function.error = CredentialsError("none")
    dispatcher.submit([dispatch("a")])
    assert dispatcher.drain(0.2) == 1
    assert list(dispatcher.outcomes()) == []


def test_a_payload_that_is_stored_holds_up_nothing(
    function: Beginning, dispatcher: Dispatcher
) -> None:
    """Another thread sends while one waits for the bucket."""
    stored, storing = threading.Event(), threading.Event()

    def store() -> None:
        storing.set()
        assert stored.wait(10)

    dispatcher.submit([dispatch("large", store), dispatch("a"), dispatch("b")])
    assert storing.wait(10)
    function.wait_until(2)
    stored.set()
    function.wait_until(3)
    assert b"large" in function.begun[2][0]


def test_a_payload_that_is_stored_does_not_hold_up_what_is_submitted_later(
    function: Beginning, dispatcher: Dispatcher
) -> None:
    """A thread is there to send it, though nothing was queued when the wait began."""
    stored, storing = threading.Event(), threading.Event()

    def store() -> None:
        storing.set()
        assert stored.wait(20)

    dispatcher.submit([dispatch("large", store)])
    assert storing.wait(10)
    dispatcher.submit([dispatch("a")])
    dispatcher.submit([dispatch("b")])
    function.wait_until(2)
    stored.set()
    function.wait_until(3)


def test_several_waits_do_not_hold_up_what_is_submitted_later(
    function: Beginning, dispatcher: Dispatcher
) -> None:
    """Each thread that waits leaves one to send, up to the most sends under way."""
    stored, storing = threading.Event(), threading.Semaphore(0)

    def store() -> None:
        storing.release()
        assert stored.wait(20)

    for number in range(7):
        dispatcher.submit([dispatch(f"large-{number}", store)])
        assert storing.acquire(timeout=10)
    dispatcher.submit([dispatch("a")])
    function.wait_until(1)
    stored.set()
    function.wait_until(8)


def test_the_end_waits_for_answers(function: Beginning, dispatcher: Dispatcher) -> None:
    """A send that has begun has no thread, and would end with the process."""
    dispatcher.submit([dispatch("a"), dispatch("b")])
    function.wait_until(2)
    closing = threading.Thread(target=dispatcher.close, args=(20,))
    closing.start()
    function.begun[0][1](None)
    closing.join(0.2)
    assert closing.is_alive()
    function.begun[1][1](RejectedError("404"))
    closing.join(10)
    assert not closing.is_alive()
    assert [type(outcome) for outcome in dispatcher.outcomes()] == [Sent, Refused]


def test_the_end_does_not_wait_for_what_has_not_begun(
    function: Beginning, dispatcher: Dispatcher
) -> None:
    """What waits to be sent, or to be sent again, is left to the next scheduler."""
    dispatcher.submit([dispatch(name) for name in "abcdefghi"])
    function.wait_until(8)
    closing = threading.Thread(target=dispatcher.close, args=(20,))
    sender = function.sender()
    closing.start()
    sender.join(10)
    closing.join(0.2)
    assert closing.is_alive()
    for _, ended in function.begun[:]:
        ended(ThrottledError("429"))
    closing.join(10)
    assert not closing.is_alive()
    assert (len(function.begun), list(dispatcher.outcomes())) == (8, [])


def test_the_end_waits_no_longer_than_it_may(function: Beginning, dispatcher: Dispatcher) -> None:
    """An answer that never comes does not keep the scheduler."""
    dispatcher.submit([dispatch("a")])
    function.wait_until(1)
    dispatcher.close(0.1)
    assert list(dispatcher.outcomes()) == []
