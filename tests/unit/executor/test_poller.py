"""Our reports arrive, malformed messages are deleted, other schedulers' are handed back."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Iterator, Sequence

import pytest

from lambda_executor.contract.errors import TransientError
from lambda_executor.contract.wire import InvocationId, Result
from lambda_executor.core.ports import Message
from lambda_executor.engine.poller import (
    HAND_BACK_CAP_S,
    Arrival,
    Poller,
    Report,
    hand_back_delay_s,
)
from lambda_executor.engine.unclaimed import CHECKS, NOTED_FROM, Unclaimed
from lambda_executor.testing import MemoryQueue
from tests.support import threads

OURS = InvocationId("ours")


class Time:
    """A clock that a test moves."""

    now_s = 0.0

    def __call__(self) -> float:
        """Seconds since the test began."""
        return self.now_s


def decode(message: Message) -> Report:
    """Results, as on the results queue."""
    return Result.decode(message.body)


def poller_of(queue: MemoryQueue) -> Poller:
    """A poller without running threads that knows one invocation."""
    return Poller(queue, decode=decode, knows=OURS.__eq__)


def receive(poller: Poller, queue: MemoryQueue) -> int:
    """One receive, without waiting."""
    messages = queue.receive(0)
    poller.take(messages)
    return len(messages)


def arriving(poller: Poller, count: int) -> Iterator[Arrival]:
    """The first `count` arrivals."""
    while count > 0:
        arrivals = poller.arrivals(wait_s=10)
        assert arrivals, f"{count} more are expected, and none came for ten seconds"
        count -= len(arrivals)
        yield from arrivals


def test_our_report_arrives_and_stays_in_the_queue_until_it_is_acknowledged() -> None:
    """A crash between arrival and acknowledgement loses nothing: the message comes again."""
    clock = Time()
    queue = MemoryQueue(visibility_timeout_s=30, clock=clock)
    queue.reply(OURS)
    poller = poller_of(queue)
    assert receive(poller, queue) == 1
    assert [a.report.id for a in poller.arrivals()] == [OURS]
    assert poller.arrivals() == []
    clock.now_s = 31
    assert receive(poller, queue) == 1
    assert len(queue) == 1


@pytest.mark.reference_fault("W13")
@pytest.mark.reference_fault("W14")
@pytest.mark.parametrize(
    "body", ["5", "null", "[]", "{", "{}", '{"task_key": ["a"], "return_code": 0}', '"x"', ""]
)
def test_one_malformed_message_does_not_hold_the_others_back(body: str) -> None:
    """The malformed message is deleted and counted, and the others arrive."""
    queue = MemoryQueue()
    queue.send(body)
    queue.reply(OURS)
    poller = poller_of(queue)
    receive(poller, queue)
    assert [a.report.id for a in poller.arrivals()] == [OURS]
    poller.start()
    poller.acknowledge([])
    poller.close(10)
    assert len(queue) == 1
    counts = poller.counts()
    assert (counts["malformed"], counts["deleted"], counts["received"]) == (1, 1, 2)


@pytest.mark.reference_fault("W6")
def test_foreign_messages_do_not_starve_ours() -> None:
    """A message stays hidden longer each time it is handed back, and is not deleted."""
    clock = Time()
    queue = MemoryQueue(visibility_timeout_s=30, clock=clock)
    for n in range(10):
        queue.reply(InvocationId(f"foreign-{n}"))
    poller = poller_of(queue)
    for _ in range(2):
        assert receive(poller, queue) == 10
    queue.reply(OURS)
    assert receive(poller, queue) == 1
    assert len(poller.arrivals()) == 1
    assert len(queue) == 11
    assert poller.counts()["handed_back"] == 20


def test_a_message_of_nobody_leaves_the_queue() -> None:
    """It is deleted and counted once Airflow does not wait for it; the others stay."""
    clock = Time()
    queue = MemoryQueue(visibility_timeout_s=30, clock=clock)
    nobodys, anothers = InvocationId("nobody's"), InvocationId("another's")
    queue.reply(nobodys)
    queue.reply(anothers)
    unclaimed = Unclaimed()
    poller = Poller(queue, decode=decode, knows=OURS.__eq__, unclaimed=unclaimed)
    for _ in range(NOTED_FROM):
        assert receive(poller, queue) == 2
        clock.now_s += HAND_BACK_CAP_S
    for _ in range(CHECKS):
        unclaimed.check({anothers}.intersection)
    poller.counts()
    assert receive(poller, queue) == 2
    counts = poller.counts()
    assert (counts["unclaimed"], counts["handed_back"], counts["malformed"]) == (1, 1, 0)
    poller.start()
    poller.close(10)
    assert [Result.decode(body).id for body in queue.bodies] == [anothers]


def test_the_delay_of_a_hand_back_grows_and_is_bounded() -> None:
    """The delay is 0, then 1, 2, 4 seconds and so on, up to the cap."""
    assert [hand_back_delay_s(n) for n in (1, 2, 3, 4, 5)] == [0, 1, 2, 4, 8]
    assert hand_back_delay_s(100_000) == HAND_BACK_CAP_S


def test_the_threads_receive_every_message_and_delete_the_acknowledged_ones() -> None:
    """Two hundred results arrive once each and the queue is empty at the end."""
    queue = MemoryQueue()
    poller = Poller(queue, decode=decode, knows=lambda _: True, threads=2)
    poller.start()
    ids = {InvocationId(f"id-{n}") for n in range(200)}
    for id in ids:
        queue.reply(id)
    seen: list[InvocationId] = []
    for arrival in arriving(poller, len(ids)):
        seen.append(arrival.report.id)
        poller.acknowledge([arrival.receipt])
    assert queue.wait_until_empty()
    poller.close(10)
    assert sorted(seen) == sorted(ids)


def test_a_queue_that_cannot_be_read_is_read_again(caplog: pytest.LogCaptureFixture) -> None:
    """A failed receive is logged with the queue's name and does not end the thread."""

    class Flaky(MemoryQueue):
        failures = 1

        def receive(self, wait_s: int) -> list[Message]:
            if self.failures:
                self.failures -= 1
                raise TransientError("503")
            return list(super().receive(wait_s))

    queue = Flaky("results")
    queue.reply(OURS)
    poller = poller_of(queue)
    poller.start()
    poller.acknowledge(arrival.receipt for arrival in arriving(poller, 1))
    assert queue.wait_until_empty()
    poller.close(10)
    assert "Cannot read results" in caplog.text


class Counting(MemoryQueue):
    """A queue that remembers the size of each call."""

    def __init__(self, name: str = "memory") -> None:
        super().__init__(name)
        self.received: list[int] = []
        self.deleted: list[int] = []

    def receive(self, wait_s: int) -> list[Message]:
        """Receive, and remember the number."""
        messages = list(super().receive(wait_s))
        self.received.append(len(messages))
        return messages

    def delete(self, receipts: Sequence[str]) -> int:
        """Delete, and remember the number."""
        self.deleted.append(len(receipts))
        return super().delete(receipts)


@pytest.mark.reference_fault("W10")
def test_calls_are_made_for_full_batches() -> None:
    """A backlog takes few more receives and deletes than it has batches of ten."""
    queue = Counting()
    for n in range(1000):
        queue.reply(InvocationId(f"id-{n}"))
    poller = Poller(queue, decode=decode, knows=lambda _: True, threads=8)
    poller.start()
    for arrival in arriving(poller, 1000):
        poller.acknowledge([arrival.receipt])
    assert queue.wait_until_empty()
    poller.close(10)
    assert sum(size > 0 for size in queue.received) == 100
    assert len(queue.deleted) <= 130


def test_a_backlog_is_received_in_parallel() -> None:
    """While receives are full, more of them are under way, up to the bound."""

    class Meeting(Counting):
        """Answers the receives of a backlog only once four of them are under way."""

        meeting = threading.Barrier(4, timeout=10)

        def receive(self, wait_s: int) -> list[Message]:
            messages = super().receive(wait_s)
            if len(self.received) > 7:
                with contextlib.suppress(threading.BrokenBarrierError):  # The test is over.
                    self.meeting.wait()
            return messages

    queue = Meeting()
    for n in range(110):
        queue.reply(InvocationId(f"id-{n}"))
    poller = Poller(queue, decode=decode, knows=lambda _: True, threads=4)
    poller.start()
    assert len(list(arriving(poller, 110))) == 110
    assert not queue.meeting.broken
    queue.meeting.abort()
    poller.close(0)
    assert queue.received[:11] == [10] * 11


def test_a_machine_without_more_threads_loses_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    """One thread receives and one deletes, even with a large backlog."""
    queue = MemoryQueue()
    for n in range(200):
        queue.reply(InvocationId(f"id-{n}"))
    poller = Poller(queue, decode=decode, knows=lambda _: True, threads=8)
    poller.start()
    threads.refuse(monkeypatch)
    for arrival in arriving(poller, 200):
        poller.acknowledge([arrival.receipt])
    assert queue.wait_until_empty()
    poller.close(10)


@pytest.mark.parametrize("verb", ["poll", "delete"])
def test_a_poller_that_gets_no_thread_does_not_start(
    verb: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """`start` raises, leaves no thread running and receives no message."""
    queue = Counting("starved")
    poller = poller_of(queue)
    before = set(threading.enumerate())
    threads.refuse(monkeypatch, lambda thread: thread.name == f"lambda-{verb}-starved")
    with pytest.raises(RuntimeError, match="can't start new thread"):
        poller.start()
    assert threads.have_ended(but=before)
    assert queue.received == []
