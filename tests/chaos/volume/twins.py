"""The twins of AWS in a simulation: they fail now and then, and keep nothing of what has ended."""

from __future__ import annotations

import math
import time
from collections import defaultdict, deque
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

from lambda_executor.contract.errors import ThrottledError, TransientError, UnreachableError
from lambda_executor.contract.wire import InvocationId, Result, payload_key
from lambda_executor.core.clocks import ServerClock
from lambda_executor.core.ports import Message
from lambda_executor.core.targets import FunctionTarget, JobTarget
from lambda_executor.testing import MemoryFunction, MemoryJobs, MemoryPayloads
from tests.chaos.volume.agenda import BEGIN_S
from tests.chaos.volume.faults import Chance
from tests.support.world.world import WatchedQueue

if TYPE_CHECKING:
    from tests.chaos.volume.aws import Aws
    from tests.chaos.volume.messages import Messages


class Function(MemoryFunction):
    """Functions that keep no record of what they have taken."""

    def __init__(self, aws: Aws) -> None:
        super().__init__()
        self._aws = aws

    def invoke(self, target: FunctionTarget, payload: bytes) -> None:
        """Take an event, or fail, or take it and lose the answer."""
        self._aws.upset(self)
        try:
            super().invoke(target, payload)
            self._aws.say_taken()
        finally:
            while self.invocations:
                self._aws.take(self.targets.pop().function, self.invocations.pop())


class Jobs(MemoryJobs):
    """A service of jobs that forgets those of which nobody knows any more.

    Attributes:
        alive: The jobs that wait or run.
    """

    def __init__(self, aws: Aws) -> None:
        super().__init__()
        self.alive: set[InvocationId] = set()
        self._aws = aws

    def launch(
        self, target: JobTarget, id: InvocationId, event: bytes, overrides: Mapping[str, Any]
    ) -> None:
        """Start a job, or find it, or fail, or start it and lose the answer."""
        self._aws.upset(self)
        try:
            super().launch(target, id, event, overrides)
            self._aws.say_taken()
        finally:
            while self.launches:
                self.alive.add(id)
                self._aws.take_job(self, self.launches.pop().event)

    def ended(self, target: JobTarget, ids: Collection[InvocationId]) -> Mapping[InvocationId, str]:
        """Return the ends of some jobs, or fail."""
        if self._aws.chance.hits("failed_look"):
            self.end_failures.append(TransientError("503"))
        try:
            return super().ended(target, ids)
        finally:
            self.asked.clear()

    def stop(self, target: JobTarget, id: InvocationId, reason: str) -> bool:
        """End a job, or fail."""
        if self._aws.chance.hits("failed_stop", self._aws.flight(id)):
            raise ThrottledError("slow down")
        self.end(id, reason)
        is_found = super().stop(target, id, reason)
        self.stops.clear()
        return is_found

    def end(self, id: InvocationId, reason: str) -> None:
        """Let a job end, if it has not ended."""
        if id in self.alive:
            self.alive.remove(id)
            self.ends[id] = reason
            self._aws.payloads.objects.pop(payload_key(id), None)

    def forget(self, ids: Collection[InvocationId]) -> None:
        """Forget all jobs but some of those that have ended."""
        self._started = {id for id in self._started if id in ids or id in self.alive}
        self.ends = {id: reason for id, reason in self.ends.items() if id in ids}


class Payloads(MemoryPayloads):
    """A bucket that takes a payload only most of the time, and forgets old ones."""

    def __init__(self, aws: Aws, clock: Callable[[], float]) -> None:
        super().__init__()
        self._aws, self._clock = aws, clock
        self._since_s: dict[str, float] = {}

    def put(self, key: str, payload: bytes) -> None:
        """Keep a payload, or fail."""
        if self._aws.chance.hits("failed_upload", self._aws.sending):
            raise UnreachableError("connection refused")
        super().put(key, payload)
        self._since_s[key] = self._clock()

    def expire(self, before_s: float) -> None:
        """Forget what was stored before a time, or has been deleted."""
        for key, since_s in list(self._since_s.items()):
            if since_s < before_s or key not in self.objects:
                self.objects.pop(key, None)
                del self._since_s[key]


class FaultyQueue(WatchedQueue):
    """A queue whose receives and deletes fail now and then, and whose messages are watched.

    It has a clock of its own.
    """

    def __init__(
        self, name: str, clock: Callable[[], float], chance: Chance, messages: Messages
    ) -> None:
        super().__init__(name, clock, messages.before_deleting)
        self._chance, self._watch = chance, messages
        #: By how far a scheduler's clock is ahead: what it knows of the queue's.
        self._clocks: defaultdict[int, ServerClock] = defaultdict(ServerClock)

    def send(self, body: str | Result, attributes: Mapping[str, str] | None = None) -> None:
        """Add one message, and have it looked at."""
        text = body.encode() if isinstance(body, Result) else body
        super().send(text, attributes)
        self._watch.stored(text, attributes or {})

    def look_through(self) -> None:
        """Have all messages looked at again, since a scheduler has died."""
        for stored in self._messages.values():
            self._watch.stored(stored.body, stored.attributes)

    def receive(self, wait_s: int) -> Sequence[Message]:
        """Receive, or fail."""
        if self._chance.hits("failed_receive"):
            raise ThrottledError("slow down")
        date_s, asked_s = BEGIN_S + self._clock(), time.time()
        clock = self._clocks[round(asked_s - date_s)]
        clock.heard(asked_s, math.floor(date_s), time.time())
        return [
            message
            if message.sent_at_s is None
            else replace(message, sent_at_s=clock.ours(message.sent_at_s))
            for message in super().receive(wait_s)
        ]

    def delete(self, receipts: Sequence[str]) -> int:
        """Delete, or fail."""
        if self._chance.hits("failed_delete"):
            raise ThrottledError("slow down")
        return super().delete(receipts)

    def expire(self, before_s: float) -> None:
        """Inspect what is too old, then delete it."""
        for stored in self._messages.values():
            if stored.sent_at_s < before_s:
                self._watch.left(stored.body, stored.attributes)
        super().expire(before_s)


@dataclass(slots=True)
class Fleet:
    """The environments of one function.

    Attributes:
        places: How many there may be.
        busy: How many run something.
        waiting: What waits in Lambda's queue.
    """

    places: int
    busy: int = 0
    waiting: deque[Callable[[], None]] = field(default_factory=deque)
