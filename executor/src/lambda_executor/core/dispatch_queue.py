"""The queue of pending invocations and every decision on a failed send. No threads, no clock."""

from __future__ import annotations

import heapq
import itertools
import logging
import random
from collections.abc import Callable
from dataclasses import dataclass, field

from lambda_executor.contract.errors import (
    AwsError,
    CredentialsError,
    RejectedError,
    ThrottledError,
)
from lambda_executor.contract.log_lines import about
from lambda_executor.contract.wire import InvocationId
from lambda_executor.core.backoff import Backoff, Uniform
from lambda_executor.core.concurrency import Concurrency
from lambda_executor.core.routing import Target

log = logging.getLogger(__name__)

#: The delay after a server or network error, of that invocation alone.
RETRY = Backoff(base_s=0.5, cap_s=30)
#: The delay of all sends after a throttle. The floor makes sure that the rate really falls.
THROTTLE = Backoff(base_s=0.2, cap_s=20, floor=0.5)
#: The delay of all sends while credentials do not work.
CREDENTIALS = Backoff(base_s=2, cap_s=30, floor=0.5)


@dataclass(frozen=True, slots=True)
class Envelope:
    """One payload and its target."""

    target: Target
    payload: bytes = field(repr=False)


@dataclass(frozen=True, slots=True)
class Dispatch:
    """One invocation to send.

    Attributes:
        id: Its dispatch id.
        prepare: Makes the envelope, on the sending thread, before each try; raises `EncodeError`,
            `RouteError`, or an `AwsError`, which counts like one of the send itself.
        wanted: Whether it is still to be sent; called before each try.
        key: The key of its workload, for the log.
    """

    id: InvocationId
    prepare: Callable[[], Envelope] = field(repr=False)
    wanted: Callable[[], bool] = field(default=lambda: True, repr=False)
    key: object = None


@dataclass(frozen=True, slots=True)
class Sent:
    """The outcome of an invocation that Lambda took."""

    id: InvocationId
    waited_s: float


@dataclass(frozen=True, slots=True)
class Refused:
    """The outcome of an invocation that is given up; `reason` is for the user."""

    id: InvocationId
    reason: str


Outcome = Sent | Refused


@dataclass(order=True, slots=True)
class Waiting:
    """An invocation in the queue, or being sent."""

    order: int
    dispatch: Dispatch = field(compare=False)
    since_s: float = field(compare=False)
    failures: int = field(default=0, compare=False)
    popped_s: float = field(default=0.0, compare=False)


class DispatchQueue:
    """The pending invocations of one executor.

    Ready invocations leave in submission order, as many at a time as `Concurrency` allows. A server
    or network error delays one invocation. A throttle or missing credentials close the gate for
    all, and do not count as an attempt.

    Args:
        max_attempts: Server or network errors after which an invocation is refused.
        most_under_way: The most sends at the same time.
        uniform: Draws the jitter.

    Attributes:
        under_way: The number of sends that have no result yet.
        throttles: The number of throttled sends.
    """

    def __init__(
        self, max_attempts: int, *, most_under_way: int, uniform: Uniform = random.uniform
    ) -> None:
        self._max_attempts = max_attempts
        self._concurrency = Concurrency(most_under_way)
        self._uniform = uniform
        self.under_way = 0
        self.throttles = 0
        self._order = itertools.count()
        self._ready: list[Waiting] = []
        self._delayed: list[tuple[float, Waiting]] = []
        self._gate_opens_s = 0.0
        self._pauses_in_a_row = 0

    def __len__(self) -> int:
        return len(self._ready) + len(self._delayed)

    def push(self, dispatch: Dispatch, now_s: float) -> None:
        """Add one invocation at the end."""
        heapq.heappush(self._ready, Waiting(next(self._order), dispatch, now_s))

    def pop(self, now_s: float) -> Waiting | None:
        """Take out the next invocation, if one may be sent now."""
        if self.wait_s(now_s) != 0:
            return None
        while self._delayed and self._delayed[0][0] <= now_s:
            heapq.heappush(self._ready, heapq.heappop(self._delayed)[1])
        while self._ready:
            waiting = heapq.heappop(self._ready)
            if waiting.dispatch.wanted():
                waiting.popped_s = now_s
                self.under_way += 1
                return waiting
        return None

    def wait_s(self, now_s: float) -> float | None:
        """Seconds until `pop` may return one; None: not before a push or the end of a send."""
        if not len(self) or self.under_way >= self._concurrency.limit:
            return None
        due_s = 0.0 if self._ready else self._delayed[0][0]
        return max(0.0, due_s - now_s, self._gate_opens_s - now_s)

    def succeeded(self, waiting: Waiting, now_s: float) -> Sent:
        """Record that Lambda took an invocation, which ends a series of pauses."""
        self.under_way -= 1
        self._pauses_in_a_row = 0
        self._concurrency.answered(now_s - waiting.popped_s)
        return Sent(waiting.dispatch.id, now_s - waiting.since_s)

    def failed(self, waiting: Waiting, error: AwsError, now_s: float) -> Refused | None:
        """Decide on a failed send: refuse the invocation, or keep it for later (None)."""
        self.under_way -= 1
        if isinstance(error, RejectedError):
            return Refused(waiting.dispatch.id, str(error))
        if isinstance(error, ThrottledError):
            self.throttles += 1
            if delay_s := self._pause(waiting, THROTTLE, now_s):
                self._concurrency.throttled()
                log.warning("Lambda throttles: sending pauses for %.1f s (%s)", delay_s, error)
            return None
        if isinstance(error, CredentialsError):
            if delay_s := self._pause(waiting, CREDENTIALS, now_s):
                log.error(
                    "AWS credentials do not work: nothing is sent, %d invocations wait, "
                    "next try in %.0f s: %s",
                    len(self),
                    delay_s,
                    error,
                )
            return None
        waiting.failures += 1
        if waiting.failures >= self._max_attempts:
            return Refused(
                waiting.dispatch.id,
                f"the invoke failed {waiting.failures} times (max_invoke_attempts), last: {error}",
            )
        delay_s = RETRY.delay_s(waiting.failures, self._uniform)
        heapq.heappush(self._delayed, (now_s + delay_s, waiting))
        id, extra = waiting.dispatch.id, about(waiting.dispatch.id, waiting.dispatch.key)
        log.warning("Invoke of %s failed, next try in %.1f s: %s", id, delay_s, error, extra=extra)
        return None

    def _pause(self, waiting: Waiting, backoff: Backoff, now_s: float) -> float | None:
        """Put one back in its place and close the gate; None if the gate was closed already.

        When invokes that were under way together all fail, that is one pause.
        """
        heapq.heappush(self._ready, waiting)
        if now_s < self._gate_opens_s:
            return None
        self._pauses_in_a_row += 1
        delay_s = backoff.delay_s(self._pauses_in_a_row, self._uniform)
        self._gate_opens_s = now_s + delay_s
        return delay_s
