"""In-memory versions of Lambda, Batch, ECS, MicroVMs, SQS and S3, for tests here and elsewhere.

They implement `core/ports.py` without AWS's delays. The test sends the results of invocations.
"""

from __future__ import annotations

import heapq
import itertools
import json
import math
import threading
import time
from collections import deque
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from lambda_executor.contract.errors import AwsError
from lambda_executor.contract.wire import Invocation, InvocationId, Result
from lambda_executor.core.ports import BATCH, Message
from lambda_executor.core.targets import FunctionTarget, JobTarget

__all__ = ["Launch", "MemoryFunction", "MemoryJobs", "MemoryPayloads", "MemoryQueue"]


class MemoryFunction:
    """A `ports.FunctionInvoker` that records its invocations.

    Attributes:
        invocations: The accepted invocations, in order.
        targets: The target of each of them.
        failures: Errors that the next calls raise, in order.
        lost_answers: Errors that the next calls raise after accepting the invocation, in order.
    """

    def __init__(self) -> None:
        self.invocations: list[Invocation] = []
        self.targets: list[FunctionTarget] = []
        self.failures: deque[AwsError] = deque()
        self.lost_answers: deque[AwsError] = deque()
        self._changed = threading.Condition()

    def invoke(self, target: FunctionTarget, payload: bytes) -> None:
        """Accept one payload, or raise the next failure."""
        with self._changed:
            if self.failures:
                raise self.failures.popleft()
            self.targets.append(target)
            self.invocations.append(Invocation.decode(json.loads(payload)))
            self._changed.notify_all()
            if self.lost_answers:
                raise self.lost_answers.popleft()

    def wait_for(self, count: int, timeout_s: float = 10) -> bool:
        """Wait until `count` invocations were accepted; return whether they were in time."""
        with self._changed:
            return self._changed.wait_for(lambda: len(self.invocations) >= count, timeout_s)


@dataclass(frozen=True, slots=True)
class Launch:
    """One job that was started; `overrides` is what the task changes in the request."""

    target: JobTarget
    id: InvocationId
    event: Invocation
    overrides: Mapping[str, Any]


class MemoryJobs:
    """A `ports.JobLauncher` that records what it is asked to do.

    Asked twice to start a job, it finds that of the first time, whether it has ended or not.

    Attributes:
        launches: The jobs that were started, in order.
        ends: Why each job has ended; a test adds to it.
        stops: The jobs that were stopped, in order, each with the reason.
        asked: The invocations of each question, in order.
        failures: Errors that the next launches raise, in order.
        lost_answers: Errors that the next launches raise after starting the job, in order.
        end_failures: Errors that the next questions raise, in order.
        stop_failures: Errors that the next stops raise, in order.
    """

    def __init__(self) -> None:
        self.launches: list[Launch] = []
        self.ends: dict[InvocationId, str] = {}
        self.stops: list[tuple[InvocationId, str]] = []
        self.asked: list[set[InvocationId]] = []
        self.failures: deque[Exception] = deque()
        self.lost_answers: deque[Exception] = deque()
        self.end_failures: deque[Exception] = deque()
        self.stop_failures: deque[Exception] = deque()
        self._started: set[InvocationId] = set()
        self._changed = threading.Condition()

    def launch(
        self, target: JobTarget, id: InvocationId, event: bytes, overrides: Mapping[str, Any]
    ) -> None:
        """Start one job, or find it, or raise the next failure."""
        with self._changed:
            if self.failures:
                raise self.failures.popleft()
            invocation = Invocation.decode(json.loads(event))
            if id not in self._started:
                self._started.add(id)
                self.launches.append(Launch(target, id, invocation, overrides))
                self._changed.notify_all()
            if self.lost_answers:
                raise self.lost_answers.popleft()

    def ended(self, target: JobTarget, ids: Collection[InvocationId]) -> Mapping[InvocationId, str]:  # noqa: ARG002 - the port's
        """Return the ends of some jobs, or raise the next failure."""
        with self._changed:
            self.asked.append(set(ids))
            if self.end_failures:
                raise self.end_failures.popleft()
            return {id: self.ends[id] for id in ids if id in self.ends}

    def stop(self, target: JobTarget, id: InvocationId, reason: str) -> bool:  # noqa: ARG002 - the port's
        """End one job if it was started here, or raise the next failure."""
        with self._changed:
            if self.stop_failures:
                raise self.stop_failures.popleft()
            if id not in self._started:
                return False
            self.stops.append((id, reason))
            self._changed.notify_all()
            return True

    def wait_for(self, count: int, timeout_s: float = 10) -> bool:
        """Wait until `count` jobs were started; return whether they were in time."""
        with self._changed:
            return self._changed.wait_for(lambda: len(self.launches) >= count, timeout_s)

    def wait_for_stops(self, count: int, timeout_s: float = 10) -> bool:
        """Wait until `count` jobs were stopped; return whether they were in time."""
        with self._changed:
            return self._changed.wait_for(lambda: len(self.stops) >= count, timeout_s)


class MemoryPayloads:
    """A `ports.PayloadStore`.

    Attributes:
        bucket: The name of the bucket.
        objects: Payload by key.
        failures: Errors that the next calls raise, in order.
    """

    def __init__(self, bucket: str = "memory") -> None:
        self.bucket = bucket
        self.objects: dict[str, bytes] = {}
        self.failures: deque[AwsError] = deque()

    def put(self, key: str, payload: bytes) -> None:
        """Keep one payload, or raise the next failure."""
        if self.failures:
            raise self.failures.popleft()
        self.objects[key] = payload


@dataclass(eq=False, slots=True)
class _Stored:
    body: str
    attributes: Mapping[str, str]
    sent_at_s: float
    visible_at_s: float = 0.0
    receipts: list[str] = field(default_factory=list)
    is_ready: bool = True  # Whether it is in the heap of visible messages.


class MemoryQueue:
    """A `ports.Queue` with SQS's visibility time-out.

    Each operation takes about as long however many messages there are.

    Args:
        name: The name in log lines.
        visibility_timeout_s: Seconds for which a delivery hides a message.
        clock: A monotonic clock, in seconds; a test may move it instead of waiting.

    Attributes:
        delete_failures: Errors that the next deletes raise, in order.
    """

    def __init__(
        self,
        name: str = "memory",
        *,
        visibility_timeout_s: float = 30,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.name = name
        self._visibility_timeout_s = visibility_timeout_s
        self._clock = clock
        self._receipts = itertools.count(1)
        self._numbers = itertools.count()
        #: By their numbers, which rise: in the order of delivery.
        self._messages: dict[int, _Stored] = {}
        self._by_receipt: dict[str, int] = {}
        #: The numbers of the visible messages, and of the others by when they become visible. Those
        #: of messages that were deleted, or hidden again, are skipped.
        self._ready: list[int] = []
        self._hidden: list[tuple[float, int]] = []
        self._changed = threading.Condition()
        self.delete_failures: deque[AwsError] = deque()

    @property
    def bodies(self) -> list[str]:
        """The bodies of all messages, visible or not, in the order of delivery."""
        with self._changed:
            return [stored.body for stored in self._messages.values()]

    def send(self, body: str | Result, attributes: Mapping[str, str] | None = None) -> None:
        """Add one message."""
        text = body.encode() if isinstance(body, Result) else body
        with self._changed:
            self._add(_Stored(text, attributes or {}, time.time()))
            self._changed.notify_all()

    def reply(self, id: InvocationId, return_code: int = 0) -> None:
        """Add our handler's result for an invocation: it succeeded, or (not 0) failed."""
        task_state = "failed" if return_code else "success"
        self.send(Result(id=id, return_code=return_code, task_state=task_state))

    def receive(self, wait_s: int) -> Sequence[Message]:
        """Return up to `BATCH` visible messages; wait up to `wait_s` seconds for the first."""
        with self._changed:
            self._changed.wait_for(self._has_visible, wait_s)
            messages: list[Message] = []
            while len(messages) < BATCH and self._drop_stale():
                messages.append(self._deliver(heapq.heappop(self._ready)))
            return messages

    def delete(self, receipts: Sequence[str]) -> int:
        """Delete messages, or raise the next failure; return how many receipts are unknown."""
        with self._changed:
            if self.delete_failures:
                raise self.delete_failures.popleft()
            refused = 0
            for receipt in receipts:
                if receipt in self._by_receipt:
                    self._remove(self._by_receipt[receipt])
                else:
                    refused += 1
            self._changed.notify_all()
            return refused

    def hand_back(self, receipts: Sequence[str], delay_s: int) -> None:
        """Make messages visible again after `delay_s` seconds."""
        with self._changed:
            for receipt in receipts:
                if (number := self._by_receipt.get(receipt)) is not None:
                    self._hide(number, delay_s)
            self._changed.notify_all()

    def deliver_again(self) -> None:
        """Make every message visible: SQS delivers at least once, so this may happen any time."""
        with self._changed:
            for number in self._messages:
                self._hide(number, -math.inf)
            self._changed.notify_all()

    def rotate(self, count: int) -> None:
        """Move the first `count` messages behind the others: SQS keeps no order."""
        with self._changed:
            messages = deque(self._messages.values())
            messages.rotate(-count)
            self._clear()
            now_s = self._clock()
            for stored in messages:
                # One that waits to be received may have been hidden again.
                stored.is_ready = stored.visible_at_s <= now_s
                number = self._add(stored)
                self._by_receipt.update(dict.fromkeys(stored.receipts, number))
                if not stored.is_ready:
                    heapq.heappush(self._hidden, (stored.visible_at_s, number))

    def expire(self, before_s: float) -> None:
        """Delete what was sent before a time in seconds since the epoch, as a retention does."""
        with self._changed:
            sent_at_s = [(number, stored.sent_at_s) for number, stored in self._messages.items()]
            for number, at_s in sent_at_s:
                if at_s < before_s:
                    self._remove(number)
            self._changed.notify_all()

    def purge(self) -> None:
        """Delete every message."""
        with self._changed:
            self._clear()
            self._changed.notify_all()

    def wait_until_empty(self, timeout_s: float = 10) -> bool:
        """Wait until every message was deleted; return whether they were in time."""
        with self._changed:
            return self._changed.wait_for(lambda: not self._messages, timeout_s)

    def __len__(self) -> int:
        """The number of messages, visible or not."""
        with self._changed:
            return len(self._messages)

    def _add(self, stored: _Stored) -> int:
        number = next(self._numbers)
        self._messages[number] = stored
        if stored.is_ready:
            heapq.heappush(self._ready, number)
        return number

    def _remove(self, number: int) -> None:
        for receipt in self._messages.pop(number).receipts:
            del self._by_receipt[receipt]

    def _clear(self) -> None:
        self._messages, self._by_receipt = {}, {}
        self._ready, self._hidden = [], []

    def _hide(self, number: int, seconds: float) -> None:
        stored = self._messages[number]
        stored.visible_at_s = self._clock() + seconds
        heapq.heappush(self._hidden, (stored.visible_at_s, number))

    def _has_visible(self) -> bool:
        """Move what has become visible to the others that are; return whether any message is."""
        now_s = self._clock()
        while self._hidden and self._hidden[0][0] <= now_s:
            _, number = heapq.heappop(self._hidden)
            stored = self._messages.get(number)
            if stored and not stored.is_ready and stored.visible_at_s <= now_s:
                stored.is_ready = True
                heapq.heappush(self._ready, number)
        return self._drop_stale()

    def _drop_stale(self) -> bool:
        """Skip what was deleted, or hidden again; return whether a message is visible."""
        now_s = self._clock()
        while self._ready:
            stored = self._messages.get(self._ready[0])
            if stored and stored.visible_at_s <= now_s:
                return True
            heapq.heappop(self._ready)
            if stored:
                stored.is_ready = False
        return False

    def _deliver(self, number: int) -> Message:
        stored = self._messages[number]
        stored.is_ready = False
        self._hide(number, self._visibility_timeout_s)
        receipt = str(next(self._receipts))
        stored.receipts.append(receipt)
        self._by_receipt[receipt] = number
        return Message(
            stored.body, receipt, len(stored.receipts), stored.attributes, stored.sent_at_s
        )

    def _find(self, receipt: str) -> _Stored | None:
        number = self._by_receipt.get(receipt)
        return None if number is None else self._messages[number]
