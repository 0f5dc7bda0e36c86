"""Drains one queue, on its own threads: sorts what arrives and deletes what was taken.

It owns the receiving and the deleting; it must not know Airflow, boto3 or the ledger. What
concerns an invocation of ours is handed to the scheduler's thread as an arrival and deleted only
after `acknowledge`. What is not readable is removed and counted. What belongs to another
scheduler is handed back, later each time, so that it can never starve what is ours.
"""

from __future__ import annotations

import logging
import threading
from collections import Counter, deque
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field

from lambda_executor.backoff import Backoff
from lambda_executor.errors import AwsError, DecodeError
from lambda_executor.ports import Message, Queue
from lambda_executor.wire import DeadLetter, InvocationId, Result

log = logging.getLogger(__name__)

#: The longest that SQS holds a receive open: fewest calls when nothing comes.
LONG_POLL_S = 20
#: What a further poller waits when there is a backlog: long enough to ask all of SQS's servers.
BACKLOG_POLL_S = 1
#: Messages of one receive or one batch call, at most; a full receive means that more is waiting.
BATCH = 10
#: A queue that cannot be read is asked again, ever more slowly.
RETRY = Backoff(base_s=1, cap_s=60, floor=0.5)
#: Seconds for which another scheduler's message is hidden, at most.
HAND_BACK_CAP_S = 900

Report = Result | DeadLetter


@dataclass(frozen=True, slots=True)
class Arrival:
    """What a queue says about one of our invocations."""

    report: Report
    receipt: str = field(repr=False)


def hand_back_delay_s(receive_count: int) -> int:
    """Seconds for which a foreign message stays hidden after its n-th delivery.

    None the first time, as its owner is probably waiting for it; then 1, 2, 4, ...
    """
    return min(HAND_BACK_CAP_S, 2 ** min(receive_count - 2, 30)) if receive_count > 1 else 0


class Poller:
    """Threads that empty one queue.

    One thread always has a long poll open. The others join in while full receives show that
    there is a backlog.

    Args:
        queue: Where to receive from.
        decode: Reads one message; raises `DecodeError`.
        knows: Whether an invocation is ours; called on the poller's threads.
        threads: How many receives may be under way at once.
    """

    def __init__(
        self,
        queue: Queue,
        *,
        decode: Callable[[Message], Report],
        knows: Callable[[InvocationId], bool],
        threads: int = 1,
    ) -> None:
        self._queue = queue
        self._decode = decode
        self._knows = knows
        self._arrivals: deque[Arrival] = deque()
        self._counts: Counter[str] = Counter()
        self._counts_lock = threading.Lock()
        self._closed = threading.Event()
        self._backlog = threading.Event()
        self._deletable: list[str] = []
        self._deletable_changed = threading.Condition()
        name = queue.name
        self._deleter = threading.Thread(
            target=self._delete, name=f"lambda-delete-{name}", daemon=True
        )
        self._pollers = [
            threading.Thread(
                target=self._poll, args=(n > 0,), name=f"lambda-poll-{name}-{n}", daemon=True
            )
            for n in range(threads)
        ]

    def start(self) -> None:
        """Start the threads."""
        for thread in (self._deleter, *self._pollers):
            thread.start()

    def arrivals(self) -> list[Arrival]:
        """What arrived for us since the last call."""
        return [self._arrivals.popleft() for _ in range(len(self._arrivals))]

    def acknowledge(self, receipts: Iterable[str]) -> None:
        """Have deliveries deleted; returns at once."""
        with self._deletable_changed:
            self._deletable.extend(receipts)
            self._deletable_changed.notify()

    def counts(self) -> Counter[str]:
        """How many messages were received, malformed, handed back, deleted since the last call."""
        with self._counts_lock:
            counts, self._counts = self._counts, Counter()
            return counts

    def close(self, timeout_s: float) -> None:
        """Stop receiving and delete what was acknowledged.

        A long poll that is open is not waited for; what it still brings is handed back.
        """
        self._closed.set()
        with self._deletable_changed:
            self._deletable_changed.notify()
        if self._deleter.is_alive():
            self._deleter.join(timeout_s)

    def take(self, messages: Sequence[Message]) -> None:
        """Sort one receive: arrivals, malformed ones, other schedulers' ones."""
        malformed: list[str] = []
        foreign: dict[int, list[str]] = {}
        for message in messages:
            try:
                report = self._decode(message)
            except DecodeError as error:
                log.warning("Removing a malformed message from %s: %s", self._queue.name, error)
                malformed.append(message.receipt)
                continue
            if self._knows(report.id):
                self._arrivals.append(Arrival(report, message.receipt))
            else:
                delay_s = hand_back_delay_s(message.receive_count)
                foreign.setdefault(delay_s, []).append(message.receipt)
        self._count(
            received=len(messages),
            malformed=len(malformed),
            handed_back=sum(map(len, foreign.values())),
        )
        self.acknowledge(malformed)
        for delay_s, receipts in foreign.items():
            self._queue.hand_back(receipts, delay_s)

    def _poll(self, helping: bool) -> None:
        failures = 0
        while not self._closed.is_set():
            if helping and not self._backlog.wait(LONG_POLL_S):
                continue
            try:
                messages = self._queue.receive(BACKLOG_POLL_S if helping else LONG_POLL_S)
                if self._closed.is_set():
                    # Nobody asks for arrivals any more: leave them to the next scheduler.
                    if messages:
                        self._queue.hand_back([m.receipt for m in messages], 0)
                    return
                (self._backlog.set if len(messages) >= BATCH else self._backlog.clear)()
                self.take(messages)
                failures = 0
            except AwsError as error:
                failures += 1
                delay_s = RETRY.delay_s(failures)
                log.error(
                    "Cannot read %s, next try in %.0f s: %s", self._queue.name, delay_s, error
                )
                self._closed.wait(delay_s)
            except Exception:
                # Whatever one receive held must not end the thread: results would stop for ever.
                log.exception("A receive from %s could not be handled", self._queue.name)
                self._closed.wait(RETRY.base_s)

    def _delete(self) -> None:
        while True:
            with self._deletable_changed:
                self._deletable_changed.wait_for(lambda: self._deletable or self._closed.is_set())
                batch, self._deletable = self._deletable[:BATCH], self._deletable[BATCH:]
            if not batch:
                return
            try:
                refused = self._queue.delete(batch)
            except AwsError as error:
                # It will be delivered again, found settled, and acknowledged again.
                log.warning("Could not delete from %s: %s", self._queue.name, error)
            except Exception:
                log.exception("Could not delete from %s", self._queue.name)
            else:
                self._count(deleted=len(batch) - refused)

    def _count(self, **counts: int) -> None:
        with self._counts_lock:
            self._counts.update(counts)
