"""What waits to be sent, when the next of it may go, and every decision about a failed send: pure.

It has no threads and no clock: `dispatcher.py` empties it into Lambda, and says what time it is.
"""

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

#: A server or network error: this invocation waits, the others go on.
RETRY = Backoff(base_s=0.5, cap_s=30)
#: Throttled: everything waits. Never less than half of the bound, so that the rate really falls.
THROTTLE = Backoff(base_s=0.2, cap_s=20, floor=0.5)
#: No credentials: everything waits, and says so each time.
CREDENTIALS = Backoff(base_s=2, cap_s=30, floor=0.5)


@dataclass(frozen=True, slots=True)
class Envelope:
    """One payload and where it goes."""

    target: Target
    payload: bytes = field(repr=False)


@dataclass(frozen=True, slots=True)
class Dispatch:
    """One invocation to send.

    Attributes:
        id: Its dispatch id.
        prepare: Makes what is sent, just before each try and on the sending thread, not on the
            scheduler's; raises `EncodeError`, `RouteError`, or an `AwsError`, which counts like
            one of the send itself.
        wanted: Whether it is still to be sent; asked before each try.
        key: What names its workload, for the log.
    """

    id: InvocationId
    prepare: Callable[[], Envelope] = field(repr=False)
    wanted: Callable[[], bool] = field(default=lambda: True, repr=False)
    key: object = None


@dataclass(frozen=True, slots=True)
class Sent:
    """Lambda took it."""

    id: InvocationId
    waited_s: float


@dataclass(frozen=True, slots=True)
class Refused:
    """It will never be taken; `reason` is for the user."""

    id: InvocationId
    reason: str


Outcome = Sent | Refused


@dataclass(order=True, slots=True)
class Waiting:
    """An invocation in the queue, or on its way to Lambda."""

    order: int
    dispatch: Dispatch = field(compare=False)
    since_s: float = field(compare=False)
    failures: int = field(default=0, compare=False)
    popped_s: float = field(default=0.0, compare=False)


class DispatchQueue:
    """The invocations of one executor that Lambda has not taken.

    Ready invocations leave in submission order, as many at a time as `Concurrency` says. One that
    failed for a reason of its own waits by itself; throttling and missing credentials close the
    gate for all and cost no attempt.

    Args:
        max_attempts: Sends of one invocation that end in a server or network error.
        most_under_way: Sends at the same time, at most.
        uniform: Where jitter comes from.

    Attributes:
        under_way: How many have left and have neither succeeded nor failed yet.
        throttles: How many sends were throttled.
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
        """Add one invocation behind all others."""
        heapq.heappush(self._ready, Waiting(next(self._order), dispatch, now_s))

    def pop(self, now_s: float) -> Waiting | None:
        """The next invocation that may be sent now."""
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
        """Seconds until `pop` can give something; None: not before a push or an answer."""
        if not len(self) or self.under_way >= self._concurrency.limit:
            return None
        due_s = 0.0 if self._ready else self._delayed[0][0]
        return max(0.0, due_s - now_s, self._gate_opens_s - now_s)

    def succeeded(self, waiting: Waiting, now_s: float) -> Sent:
        """Lambda took it: the gate is known to be open."""
        self.under_way -= 1
        self._pauses_in_a_row = 0
        self._concurrency.answered(now_s - waiting.popped_s)
        return Sent(waiting.dispatch.id, now_s - waiting.since_s)

    def failed(self, waiting: Waiting, error: AwsError, now_s: float) -> Refused | None:
        """Decide on a failed send: refused for good, or kept for later (None)."""
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
        dispatch = waiting.dispatch
        log.warning(
            "Invoke of %s failed, next try in %.1f s: %s",
            dispatch.id,
            delay_s,
            error,
            extra=about(dispatch.id, dispatch.key),
        )
        return None

    def _pause(self, waiting: Waiting, backoff: Backoff, now_s: float) -> float | None:
        """Put one back in its place and close the gate; None when it was closed already.

        A burst of failures of invokes that were under way together is one reason to pause.
        """
        heapq.heappush(self._ready, waiting)
        if now_s < self._gate_opens_s:
            return None
        self._pauses_in_a_row += 1
        delay_s = backoff.delay_s(self._pauses_in_a_row, self._uniform)
        self._gate_opens_s = now_s + delay_s
        return delay_s
