"""The other schedulers' queues are polled only while that is needed."""

from __future__ import annotations

import pytest

from lambda_executor.core.ports import Endpoints
from lambda_executor.engine.listening import Listeners
from lambda_executor.engine.poller import Poller
from lambda_executor.testing import MemoryFunction, MemoryQueue


class Clock:
    """A clock that only waiting moves on."""

    def __init__(self) -> None:
        self.now_s = 0.0

    def __call__(self) -> float:
        """The seconds that were waited."""
        return self.now_s


@pytest.fixture
def clock() -> Clock:
    """The time of the listeners."""
    return Clock()


@pytest.fixture
def listeners(clock: Clock) -> Listeners:
    """The listeners of the second of three schedulers."""
    queues = [MemoryQueue(f"results-{number}") for number in range(3)]
    endpoints = Endpoints(MemoryFunction(), queues, MemoryQueue("dead-letters"))
    return Listeners(endpoints, 1, knows=lambda _: True, threads=1, clock=clock)


def test_every_other_queue_is_polled_and_closed(listeners: Listeners) -> None:
    """The own queue is not polled twice, and a second call changes nothing."""
    for _ in range(2):
        listeners.watch_others()
        assert [poller._queue.name for poller in listeners.foreign] == ["results-0", "results-2"]
    listeners.close_others()
    assert list(listeners) == list(listeners.own)


def test_a_poller_that_could_not_start_is_started_by_the_next_call(
    listeners: Listeners, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A shortage of threads does not lose a queue for ever."""

    def refuse(_: Poller) -> None:
        raise RuntimeError("can't start new thread")

    with monkeypatch.context() as patch:
        patch.setattr(Poller, "start", refuse)
        listeners.watch_others()
    assert listeners.foreign == []
    listeners.watch_others()
    assert len(listeners.foreign) == 2
    listeners.close_others()


def test_closing_waits_for_all_queues_together(
    listeners: Listeners, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Deletes that do not end take the given time once, and every queue gets that time."""
    listeners.watch_others()
    close = Poller.close
    began_s: dict[Poller, float] = {}

    def close_one_that_hangs(poller: Poller, timeout_s: float) -> None:
        close(poller, 0)
        began_s.setdefault(poller, clock.now_s)
        clock.now_s += timeout_s

    monkeypatch.setattr(Poller, "close", close_one_that_hangs)
    listeners.close(10)
    assert clock.now_s == 10
    assert began_s == dict.fromkeys(listeners, 0)


def test_without_a_function_no_dead_letters_are_polled() -> None:
    """There is no queue for them."""
    endpoints = Endpoints(MemoryFunction(), [MemoryQueue("results")], None)
    listeners = Listeners(endpoints, 0, knows=lambda _: True, threads=1)
    assert [poller._queue.name for poller in listeners] == ["results"]
