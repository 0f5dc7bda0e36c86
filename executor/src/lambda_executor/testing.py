"""In-memory versions of Lambda, Batch, ECS, SQS and S3, for tests of this package and of its users.

They implement `core/ports.py` without AWS's delays. The test sends the results of invocations.
"""

from __future__ import annotations

import itertools
import json
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
    sent_at_s: float = field(default_factory=time.time)
    visible_at_s: float = 0.0
    receipts: list[str] = field(default_factory=list)


class MemoryQueue:
    """A `ports.Queue` with SQS's visibility time-out.

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
        self._messages: deque[_Stored] = deque()
        self._changed = threading.Condition()
        self.delete_failures: deque[AwsError] = deque()

    @property
    def bodies(self) -> list[str]:
        """The bodies of all messages, visible or not, in the order of delivery."""
        with self._changed:
            return [stored.body for stored in self._messages]

    def send(self, body: str | Result, attributes: Mapping[str, str] | None = None) -> None:
        """Add one message."""
        text = body.encode() if isinstance(body, Result) else body
        with self._changed:
            self._messages.append(_Stored(text, attributes or {}))
            self._changed.notify_all()

    def reply(self, id: InvocationId, return_code: int = 0) -> None:
        """Add our handler's result for an invocation: it succeeded, or (not 0) failed."""
        task_state = "failed" if return_code else "success"
        self.send(Result(id=id, return_code=return_code, task_state=task_state))

    def receive(self, wait_s: int) -> Sequence[Message]:
        """Return up to `BATCH` visible messages; wait up to `wait_s` seconds for the first."""
        with self._changed:
            self._changed.wait_for(self._visible, wait_s)
            return [self._deliver(stored) for stored in self._visible()[:BATCH]]

    def delete(self, receipts: Sequence[str]) -> int:
        """Delete messages, or raise the next failure; return how many receipts are unknown."""
        with self._changed:
            if self.delete_failures:
                raise self.delete_failures.popleft()
            refused = 0
            for receipt in receipts:
                if stored := self._find(receipt):
                    self._messages.remove(stored)
                else:
                    refused += 1
            self._changed.notify_all()
            return refused

    def hand_back(self, receipts: Sequence[str], delay_s: int) -> None:
        """Make messages visible again after `delay_s` seconds."""
        with self._changed:
            for receipt in receipts:
                if stored := self._find(receipt):
                    stored.visible_at_s = self._clock() + delay_s
            self._changed.notify_all()

    def deliver_again(self) -> None:
        """Make every message visible: SQS delivers at least once, so this may happen any time."""
        with self._changed:
            for stored in self._messages:
                stored.visible_at_s = 0.0
            self._changed.notify_all()

    def rotate(self, count: int) -> None:
        """Move the first `count` messages behind the others: SQS keeps no order."""
        with self._changed:
            self._messages.rotate(-count)

    def purge(self) -> None:
        """Delete every message."""
        with self._changed:
            self._messages.clear()
            self._changed.notify_all()

    def wait_until_empty(self, timeout_s: float = 10) -> bool:
        """Wait until every message was deleted; return whether they were in time."""
        with self._changed:
            return self._changed.wait_for(lambda: not self._messages, timeout_s)

    def __len__(self) -> int:
        """The number of messages, visible or not."""
        with self._changed:
            return len(self._messages)

    def _visible(self) -> list[_Stored]:
        return [m for m in self._messages if m.visible_at_s <= self._clock()]

    def _deliver(self, stored: _Stored) -> Message:
        stored.visible_at_s = self._clock() + self._visibility_timeout_s
        receipt = str(next(self._receipts))
        stored.receipts.append(receipt)
        return Message(
            stored.body, receipt, len(stored.receipts), stored.attributes, stored.sent_at_s
        )

    def _find(self, receipt: str) -> _Stored | None:
        return next((m for m in self._messages if receipt in m.receipts), None)
