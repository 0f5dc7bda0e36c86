"""The other schedulers' queues are read while they are needed, and left again."""

from __future__ import annotations

import pytest

from lambda_executor.core.ports import Endpoints
from lambda_executor.engine.listening import Listeners
from lambda_executor.engine.poller import Poller
from lambda_executor.testing import MemoryFunction, MemoryQueue


@pytest.fixture
def listeners() -> Listeners:
    """Those of the second of three schedulers."""
    queues = [MemoryQueue(f"results-{number}") for number in range(3)]
    endpoints = Endpoints(MemoryFunction(), queues, MemoryQueue("dead-letters"))
    return Listeners(endpoints, 1, knows=lambda _: True, threads=1)


def test_every_other_queue_is_read_and_left(listeners: Listeners) -> None:
    """Its own twice is not among them, and to ask again changes nothing."""
    for _ in range(2):
        listeners.watch_others()
        assert [poller._queue.name for poller in listeners.foreign] == ["results-0", "results-2"]
    listeners.close_others()
    assert list(listeners) == list(listeners.own)


def test_what_could_not_be_started_is_started_the_next_time(
    listeners: Listeners, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A machine without more threads costs no queue for ever."""

    def refuse(_: Poller) -> None:
        raise RuntimeError("can't start new thread")

    with monkeypatch.context() as patch:
        patch.setattr(Poller, "start", refuse)
        listeners.watch_others()
    assert listeners.foreign == []
    listeners.watch_others()
    assert len(listeners.foreign) == 2
    listeners.close_others()
