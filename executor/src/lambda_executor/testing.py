"""In-memory twins of Lambda, SQS and S3, for tests of this package and of those who use it.

They keep the promises of `ports.py` and none of AWS's delays: asynchronous invocations are
recorded and answered by the test; a queue delivers, hides, hands back and deletes. Time is given,
so that a test moves it instead of waiting.
"""

from __future__ import annotations

import itertools
import json
import threading
import time
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

from lambda_executor.contract.errors import AwsError
from lambda_executor.contract.wire import Invocation, InvocationId, Result
from lambda_executor.core.ports import BATCH, Message
from lambda_executor.core.routing import Target

__all__ = ["MemoryFunction", "MemoryPayloads", "MemoryQueue"]


class MemoryFunction:
    """A function that records what it is asked to run; a `ports.FunctionInvoker`.

    Attributes:
        invocations: What was accepted, in order.
        targets: The function of each, in the same order.
        failures: Errors for the next calls, first in first out; an empty deque: all succeed.
        lost_answers: Errors for the next calls that are accepted all the same; likewise.
    """

    def __init__(self) -> None:
        self.invocations: list[Invocation] = []
        self.targets: list[Target] = []
        self.failures: deque[AwsError] = deque()
        self.lost_answers: deque[AwsError] = deque()
        self._changed = threading.Condition()

    def invoke(self, target: Target, payload: bytes) -> None:
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
        """Wait until so many invocations were accepted; False when they were not in time."""
        with self._changed:
            return self._changed.wait_for(lambda: len(self.invocations) >= count, timeout_s)


class MemoryPayloads:
    """A bucket that keeps what it is given; a `ports.PayloadStore`.

    Attributes:
        objects: Payload by key.
        failures: Errors for the next calls, first in first out; an empty deque: all succeed.
    """

    def __init__(self, bucket: str = "memory") -> None:
        self._bucket = bucket
        self.objects: dict[str, bytes] = {}
        self.failures: deque[AwsError] = deque()

    @property
    def bucket(self) -> str:
        """Its name."""
        return self._bucket

    def put(self, key: str, payload: bytes) -> None:
        """Keep one payload, or raise the next failure."""
        if self.failures:
            raise self.failures.popleft()
        self.objects[key] = payload


@dataclass(slots=True)
class _Stored:
    number: int
    body: str
    attributes: Mapping[str, str]
    sent_at_s: float = field(default_factory=time.time)
    visible_at_s: float = 0.0
    receive_count: int = 0
    receipts: list[str] = field(default_factory=list)


class MemoryQueue:
    """A queue with SQS's visibility time-out; a `ports.Queue`.

    Args:
        name: What log lines call it.
        visibility_timeout_s: Seconds for which a delivery hides a message.
        clock: Seconds that only grow.

    Attributes:
        delete_failures: Errors for the next deletes, first in first out; an empty deque: all
            succeed.
    """

    def __init__(
        self,
        name: str = "memory",
        *,
        visibility_timeout_s: float = 30,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._name = name
        self._visibility_timeout_s = visibility_timeout_s
        self._clock = clock
        self._numbers = itertools.count(1)
        self._messages: dict[int, _Stored] = {}
        self._changed = threading.Condition()
        self.delete_failures: deque[AwsError] = deque()

    @property
    def name(self) -> str:
        """What log lines call it."""
        return self._name

    @property
    def bodies(self) -> list[str]:
        """The messages that it holds, visible or not, in the order of delivery."""
        with self._changed:
            return [stored.body for stored in self._messages.values()]

    def send(self, body: str | Result, attributes: Mapping[str, str] | None = None) -> None:
        """Put one message in."""
        text = body.encode() if isinstance(body, Result) else body
        with self._changed:
            number = next(self._numbers)
            self._messages[number] = _Stored(number, text, attributes or {})
            self._changed.notify_all()

    def reply(self, id: InvocationId, return_code: int = 0) -> None:
        """Put the handler's result for an invocation in."""
        self.send(Result(id=id, return_code=return_code))

    def receive(self, wait_s: int) -> Sequence[Message]:
        """Up to `BATCH` visible messages; waits for the first."""
        with self._changed:
            self._changed.wait_for(self._visible, wait_s)
            return [self._deliver(stored) for stored in self._visible()[:BATCH]]

    def delete(self, receipts: Sequence[str]) -> int:
        """Delete deliveries, or raise the next failure; a receipt that is not known is refused."""
        with self._changed:
            if self.delete_failures:
                raise self.delete_failures.popleft()
            refused = 0
            for receipt in receipts:
                stored = self._find(receipt)
                if stored is None:
                    refused += 1
                else:
                    del self._messages[stored.number]
            self._changed.notify_all()
            return refused

    def hand_back(self, receipts: Sequence[str], delay_s: int) -> None:
        """Make deliveries visible again after `delay_s`."""
        with self._changed:
            for receipt in receipts:
                if stored := self._find(receipt):
                    stored.visible_at_s = self._clock() + delay_s
            self._changed.notify_all()

    def deliver_again(self) -> None:
        """Make every message visible, as SQS may at any time: it delivers at least once."""
        with self._changed:
            for stored in self._messages.values():
                stored.visible_at_s = 0.0
            self._changed.notify_all()

    def rotate(self, count: int) -> None:
        """Put so many of the first messages behind the others: SQS keeps no order."""
        with self._changed:
            items = deque(self._messages.items())
            items.rotate(-count)
            self._messages = dict(items)

    def purge(self) -> None:
        """Remove every message."""
        with self._changed:
            self._messages.clear()
            self._changed.notify_all()

    def wait_until_empty(self, timeout_s: float = 10) -> bool:
        """Wait until every message was deleted; False when they were not in time."""
        with self._changed:
            return self._changed.wait_for(lambda: not self._messages, timeout_s)

    def __len__(self) -> int:
        """How many messages it holds, visible or not."""
        with self._changed:
            return len(self._messages)

    def _visible(self) -> list[_Stored]:
        now_s = self._clock()
        return [m for m in self._messages.values() if m.visible_at_s <= now_s]

    def _deliver(self, stored: _Stored) -> Message:
        stored.receive_count += 1
        stored.visible_at_s = self._clock() + self._visibility_timeout_s
        receipt = f"{stored.number}-{stored.receive_count}"
        stored.receipts.append(receipt)
        return Message(
            stored.body, receipt, stored.receive_count, stored.attributes, stored.sent_at_s
        )

    def _find(self, receipt: str) -> _Stored | None:
        return next((m for m in self._messages.values() if receipt in m.receipts), None)
