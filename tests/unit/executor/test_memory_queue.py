"""The queue in memory: what it delivers, in which order, and that its size costs no time."""

from __future__ import annotations

from lambda_executor.core.ports import BATCH
from lambda_executor.testing import MemoryQueue


class Clock:
    """A clock that a test sets."""

    def __init__(self) -> None:
        self.now_s = 0.0
        self.reads = 0

    def __call__(self) -> float:
        """Return the time."""
        self.reads += 1
        return self.now_s


def filled(count: int) -> tuple[MemoryQueue, Clock]:
    """A queue with so many messages, whose bodies are their numbers."""
    clock = Clock()
    queue = MemoryQueue(clock=clock)
    for number in range(count):
        queue.send(str(number))
    return queue, clock


def bodies(queue: MemoryQueue) -> list[int]:
    """Receive once."""
    return [int(message.body) for message in queue.receive(0)]


def test_a_delivered_message_comes_again_after_the_time_out_in_its_old_place() -> None:
    """It comes before what was sent after it."""
    queue, clock = filled(BATCH + 5)
    assert bodies(queue) == list(range(BATCH))
    clock.now_s = 31
    assert bodies(queue) == list(range(BATCH))
    assert bodies(queue) == list(range(BATCH, BATCH + 5))


def test_a_message_that_is_handed_back_twice_is_visible_after_the_last_delay() -> None:
    """The later word counts, whether it is longer or shorter."""
    queue, clock = filled(2)
    longer, shorter = (message.receipt for message in queue.receive(0))
    queue.hand_back([longer], 5)
    queue.hand_back([longer], 100)
    queue.hand_back([shorter], 100)
    queue.hand_back([shorter], 5)
    clock.now_s = 6
    assert bodies(queue) == [1]
    clock.now_s = 101
    assert bodies(queue) == [0, 1]


def test_messages_that_change_places_keep_their_receipts_and_stay_hidden() -> None:
    """The first ones move behind the others; a receipt of before still deletes its message."""
    queue, clock = filled(3)
    first = queue.receive(0)[0]
    queue.rotate(1)
    assert bodies(queue) == []
    clock.now_s = 31
    assert bodies(queue) == [1, 2, 0]
    assert queue.delete([first.receipt]) == 0
    assert queue.bodies == ["1", "2"]
    queue.deliver_again()
    assert bodies(queue) == [1, 2]


def test_a_visible_message_that_is_hidden_again_outlives_a_change_of_places() -> None:
    """A late hand-back hides it while it waits to be received: it comes when that is over."""
    queue, clock = filled(BATCH + 1)
    queue.receive(0)
    (late,) = queue.receive(0)
    clock.now_s = 31
    assert bodies(queue) == list(range(BATCH))
    queue.hand_back([late.receipt], 100)
    queue.rotate(BATCH)
    assert bodies(queue) == []
    clock.now_s = 132
    assert bodies(queue) == [BATCH, *range(BATCH - 1)]


def test_a_receipt_deletes_once() -> None:
    """A second delete of the same message is refused, as is one by a receipt of nothing."""
    queue, clock = filled(1)
    receipt = queue.receive(0)[0].receipt
    clock.now_s = 31
    again = queue.receive(0)[0].receipt
    assert queue.delete([receipt, again, "nothing"]) == 2
    assert not len(queue)


def test_what_is_too_old_is_forgotten() -> None:
    """What was sent before a point in time is deleted, as by a retention."""
    queue, _ = filled(3)
    sent_at_s = queue.receive(0)[0].sent_at_s
    assert sent_at_s is not None
    queue.expire(sent_at_s)
    assert len(queue) == 3
    queue.expire(sent_at_s + 1000)
    assert not len(queue)


def test_a_receive_does_not_look_at_all_messages() -> None:
    """It asks for the time as often from a long queue as from a short one."""
    reads = []
    for count in (BATCH, 100 * BATCH):
        queue, clock = filled(count)
        clock.reads = 0
        assert len(queue.receive(0)) == BATCH
        reads.append(clock.reads)
    assert reads[1] <= reads[0] + 1
