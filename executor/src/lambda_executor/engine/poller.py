"""The threads that receive from one queue and delete from it.

A report about one of our invocations becomes an arrival for the scheduler's thread, and is deleted
only after `acknowledge`. A malformed message is deleted and counted. A message of another
scheduler is handed back, with a growing delay, so that it cannot starve ours, and deleted once it
is certain that nobody will claim it (`unclaimed.py`).
"""

from __future__ import annotations

import logging
import threading
import time
from collections import Counter, deque
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from functools import partial

from lambda_executor.contract.errors import AwsError, DecodeError
from lambda_executor.contract.wire import DeadLetter, InvocationId, Result
from lambda_executor.core.backoff import Backoff
from lambda_executor.core.ports import BATCH, LONG_POLL_S, Message, Queue
from lambda_executor.engine.unclaimed import Unclaimed

log = logging.getLogger(__name__)

#: Seconds that each further receive of a wave waits: long enough to query all of SQS's servers.
BACKLOG_POLL_S = 1
#: Seconds from a wave that emptied the queue to the next one, so that messages gather.
GATHER_S = 0.04
#: Seconds. More messages gather during a slower wave, so the next wave grows by more.
SLOW_WAVE_S = 0.15
#: Seconds that a delete waits for its batch to fill. No one waits for a delete, and calls cost.
FILL_S = 0.25
#: The delay before a queue that could not be read is read again.
RETRY = Backoff(base_s=1, cap_s=60, floor=0.5)
#: The most seconds for which another scheduler's message is hidden.
HAND_BACK_CAP_S = 900

Report = Result | DeadLetter


@dataclass(frozen=True, slots=True)
class Arrival:
    """A report about one of our invocations, with the receipt that deletes its message."""

    report: Report
    receipt: str = field(repr=False)
    sent_at_s: float | None = None


def hand_back_delay_s(receive_count: int) -> int:
    """Seconds for which another scheduler's message stays hidden after its n-th delivery.

    0 the first time, because its owner is probably waiting for it; then 1, 2, 4, ...
    """
    return min(HAND_BACK_CAP_S, 2 ** min(receive_count - 2, 30)) if receive_count > 1 else 0


class Poller:
    """Threads that empty one queue.

    Receives are made in waves. A wave is one long poll while nothing comes. If every receive of a
    wave is full, there is a backlog, and the next wave is wider. Otherwise the queue is empty, and
    the next wave is narrower and starts after messages have gathered. So receives are as many as
    the results need, and mostly full. Deletes wait for full batches, and several run in parallel.

    Args:
        queue: The queue.
        decode: Reads one message; raises `DecodeError`.
        knows: Whether an invocation is ours; called on the poller's threads.
        unclaimed: Knows which messages nobody will claim; None: nobody does.
        arrived: Called with each arrival, on the poller's threads.
        threads: The most receives, and the most deletes, under way at once.
    """

    def __init__(  # noqa: PLR0913 - a queue, and what becomes of its messages
        self,
        queue: Queue,
        *,
        decode: Callable[[Message], Report],
        knows: Callable[[InvocationId], bool],
        unclaimed: Unclaimed | None = None,
        arrived: Callable[[Arrival], None] | None = None,
        threads: int = 1,
    ) -> None:
        self._queue = queue
        self._decode = decode
        self._knows = knows
        self._unclaimed = Unclaimed() if unclaimed is None else unclaimed
        self._notify_arrived = arrived
        self._arrivals: list[Arrival] = []
        self._arrived = threading.Condition()
        self._counts: Counter[str] = Counter()
        self._counts_lock = threading.Lock()
        self._closed = threading.Event()
        self._most_threads = threads
        self._deleters = threading.Semaphore(threads)
        self._deletable: list[str] = []
        self._deletable_changed = threading.Condition()
        self._deletes_under_way = 0
        self._failures = 0

    def start(self) -> None:
        """Start to receive and to delete.

        Raises:
            RuntimeError: The machine allows no more threads; then neither runs.
        """
        try:
            # The delete thread comes first: `close` ends it at once, but not an open long poll.
            self._thread("delete", self._delete).start()
            self._thread("poll", self._poll).start()
        except RuntimeError:
            self.close(0)
            raise

    def arrivals(self, wait_s: float = 0) -> list[Arrival]:
        """Return the arrivals since the last call; wait up to `wait_s` seconds for the first."""
        with self._arrived:
            self._arrived.wait_for(lambda: self._arrivals, wait_s)
            arrivals, self._arrivals = self._arrivals, []
            return arrivals

    def acknowledge(self, receipts: Iterable[str]) -> None:
        """Queue messages to be deleted, and return at once."""
        with self._deletable_changed:
            was_empty = not self._deletable
            self._deletable.extend(receipts)
            if was_empty or len(self._deletable) >= BATCH:
                self._deletable_changed.notify_all()

    def hand_back(self, receipts: Sequence[str]) -> None:
        """Make messages visible to others at once; wait for the queue's answer."""
        for start in range(0, len(receipts), BATCH):
            try:
                self._queue.hand_back(receipts[start : start + BATCH], 0)
            except AwsError as error:
                # They become visible anyway after their visibility time-out.
                log.warning("Could not hand back to %s: %s", self._queue.name, error)

    def counts(self) -> Counter[str]:
        """Count the messages by what became of them (`metrics.py`), since the last call."""
        with self._counts_lock:
            counts, self._counts = self._counts, Counter()
            return counts

    def close(self, timeout_s: float) -> None:
        """Stop receiving, and wait until acknowledged messages are deleted.

        An open long poll is not waited for; messages that it still brings are handed back.
        """
        self._closed.set()
        with self._deletable_changed:
            self._deletable_changed.notify_all()
            self._deletable_changed.wait_for(
                lambda: not (self._deletable or self._deletes_under_way), timeout_s
            )

    def take(self, messages: Sequence[Message]) -> None:
        """Sort the messages of one receive: ours, malformed, nobody's, or another scheduler's."""
        malformed: list[str] = []
        unclaimed: list[str] = []
        foreign: dict[int, list[str]] = {}
        for message in messages:
            try:
                report = self._decode(message)
            except DecodeError as error:
                log.warning("Removing a malformed message from %s: %s", self._queue.name, error)
                malformed.append(message.receipt)
                continue
            if self._knows(report.id):
                self._add_arrival(Arrival(report, message.receipt, message.sent_at_s))
            elif self._unclaimed.is_unclaimed(report.id, message.receive_count):
                log.info(
                    "Removing a message about %.80r from %s: no scheduler has claimed it, and "
                    "Airflow does not wait for this invocation",
                    report.id,
                    self._queue.name,
                )
                unclaimed.append(message.receipt)
            else:
                delay_s = hand_back_delay_s(message.receive_count)
                foreign.setdefault(delay_s, []).append(message.receipt)
        self._count(
            received=len(messages),
            malformed=len(malformed),
            unclaimed=len(unclaimed),
            handed_back=sum(map(len, foreign.values())),
        )
        self.acknowledge(malformed + unclaimed)
        for delay_s, receipts in foreign.items():
            self._queue.hand_back(receipts, delay_s)

    def _add_arrival(self, arrival: Arrival) -> None:
        with self._arrived:
            self._arrivals.append(arrival)
            self._arrived.notify_all()
        if self._notify_arrived:
            self._notify_arrived(arrival)

    # ---- receiving ----

    def _poll(self) -> None:
        """Receive in waves until closed."""
        width, growth = 1, 0
        while not self._closed.is_set():
            began_s = time.monotonic()
            full = self._wave(width)
            if full == width:
                took_s = min(time.monotonic() - began_s, 2 * SLOW_WAVE_S)
                growth += 1 + int(took_s / SLOW_WAVE_S)
                width = min(self._most_threads, width + 2 ** min(growth - 1, 16))
            else:
                width, growth = max(1, full), 0
                self._closed.wait(GATHER_S)

    def _wave(self, width: int) -> int:
        """Make `width` receives in parallel; return how many of them were full."""
        sizes: deque[int] = deque()
        threads = [
            self._start_thread("poll", lambda: sizes.append(self._receive(BACKLOG_POLL_S)))
            for _ in range(width - 1)
        ]
        sizes.append(self._receive(LONG_POLL_S))
        for thread in filter(None, threads):
            thread.join()
        return sum(size >= BATCH for size in sizes)

    def _receive(self, wait_s: int) -> int:
        """Receive once; return the number of messages."""
        try:
            messages = self._queue.receive(wait_s)
            self._failures = 0
            if not self._closed.is_set():
                self.take(messages)
            elif messages:
                # Nothing reads arrivals any more: the next scheduler gets them.
                self._queue.hand_back([m.receipt for m in messages], 0)
        except AwsError as error:
            self._failures += 1
            delay_s = RETRY.delay_s(self._failures)
            log.error("Cannot read %s, next try in %.0f s: %s", self._queue.name, delay_s, error)
            self._closed.wait(delay_s)
            return 0
        except Exception:
            # No message may end this thread: results would never arrive again.
            log.exception("A receive from %s could not be handled", self._queue.name)
            self._closed.wait(RETRY.base_s)
            return 0
        return len(messages)

    # ---- deleting ----

    def _delete(self) -> None:
        """Delete batches until closed and nothing is left."""
        while batch := self._next_batch():
            self._deleters.acquire()
            if self._start_thread("delete", partial(self._delete_batch, batch)) is None:
                self._delete_batch(batch)

    def _next_batch(self) -> list[str]:
        """The receipts to delete with one call; empty when closed and nothing is left."""
        with self._deletable_changed:
            self._deletable_changed.wait_for(lambda: self._deletable or self._closed.is_set())
            self._deletable_changed.wait_for(
                lambda: len(self._deletable) >= BATCH or self._closed.is_set(), FILL_S
            )
            batch, self._deletable = self._deletable[:BATCH], self._deletable[BATCH:]
            self._deletes_under_way += bool(batch)
            return batch

    def _delete_batch(self, batch: Sequence[str]) -> None:
        try:
            refused = self._queue.delete(batch)
        except AwsError as error:
            # They will be delivered again, found settled, and acknowledged again.
            log.warning("Could not delete from %s: %s", self._queue.name, error)
        except Exception:
            log.exception("Could not delete from %s", self._queue.name)
        else:
            self._count(deleted=len(batch) - refused)
        self._deleters.release()
        with self._deletable_changed:
            self._deletes_under_way -= 1
            self._deletable_changed.notify_all()

    def _start_thread(self, verb: str, target: Callable[[], object]) -> threading.Thread | None:
        thread = self._thread(verb, target)
        try:
            thread.start()
        except RuntimeError as error:
            # The machine allows no more threads; the existing ones do the work, more slowly.
            log.warning("%s: %s", thread.name, error)
            return None
        return thread

    def _thread(self, verb: str, target: Callable[[], object]) -> threading.Thread:
        name = f"lambda-{verb}-{self._queue.name}"
        return threading.Thread(target=target, name=name, daemon=True)

    def _count(self, **counts: int) -> None:
        with self._counts_lock:
            self._counts.update(counts)
