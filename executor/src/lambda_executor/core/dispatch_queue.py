"""The queue of pending invocations and every decision on a failed send. No threads, no clock."""

from __future__ import annotations

import heapq
import itertools
import logging
import random
from dataclasses import dataclass, field

from lambda_executor.contract.errors import (
    AwsError,
    CredentialsError,
    ExpiredError,
    InDoubtError,
    LambdaExecutorError,
    ThrottledError,
    TransientError,
    UnreachableError,
)
from lambda_executor.contract.log_lines import about
from lambda_executor.core.backoff import Backoff, Uniform
from lambda_executor.core.dispatch import Dispatch, InDoubt, Refused, Sent
from lambda_executor.core.gate import Gate
from lambda_executor.core.pace import Pace

log = logging.getLogger(__name__)

#: The delay after an error that is about one invocation, of that invocation alone.
RETRY = Backoff(base_s=0.5, cap_s=30)
#: The delay of all sends while Lambda takes nothing.
THROTTLE = Backoff(base_s=0.2, cap_s=20, floor=0.5)
#: The delay of all sends while credentials do not work.
CREDENTIALS = Backoff(base_s=2, cap_s=30, floor=0.5)
#: The delay of all sends while Lambda cannot be reached, or does not answer as it should.
UNREACHABLE = Backoff(base_s=1, cap_s=30, floor=0.5)
#: Sends in a row that Lambda may have taken, after which it is taken to be in trouble for all.
MOST_IN_DOUBT = 8


@dataclass(order=True, slots=True)
class Waiting:
    """An invocation in the queue, or being sent.

    Attributes:
        order: Its place.
        dispatch: The invocation.
        since_s: When it was submitted.
        failures: The sends that failed for a reason of its own.
        in_doubt: How many of them Lambda may have taken.
        reason: The error of the last of them.
        popped_s: When its last send began.
    """

    order: int
    dispatch: Dispatch = field(compare=False)
    since_s: float = field(compare=False)
    failures: int = field(default=0, compare=False)
    in_doubt: int = field(default=0, compare=False)
    reason: str = field(default="", compare=False)
    popped_s: float = field(default=0.0, compare=False)


class DispatchQueue:
    """The pending invocations of one executor.

    Ready invocations leave in submission order, as fast as `Pace` allows. An error that is about
    one invocation delays that one. An error that the next send would share closes the gate for all,
    and so do many sends in a row that Lambda may or may not have taken.
    Only a send that Lambda may have taken counts as an attempt; everything else that may succeed
    later is tried again until the dispatch's `prepare` refuses it.

    Args:
        max_attempts: How often an invocation is sent that Lambda may have taken.
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
        self._pace = Pace(most_under_way)
        self._gate = Gate(uniform)
        self._uniform = uniform
        self.under_way = 0
        self.throttles = 0
        self._in_doubt_in_a_row = 0
        self._order = itertools.count()
        self._ready: list[Waiting] = []
        self._delayed: list[tuple[float, Waiting]] = []

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
                self._pace.began(now_s)
                return waiting
        return None

    def wait_s(self, now_s: float) -> float | None:
        """Seconds until `pop` may return one; None: not before a push or the end of a send."""
        limit = 1 if self._gate.is_tried else self._pace.limit
        if not len(self) or self.under_way >= limit:
            return None
        due_s = 0.0 if self._ready else self._delayed[0][0]
        return max(0.0, due_s - now_s, self._gate.wait_s(now_s), self._pace.wait_s(now_s))

    def succeeded(self, waiting: Waiting, now_s: float) -> Sent:
        """Record that Lambda took an invocation."""
        self.under_way -= 1
        self._gate.succeeded()
        self._in_doubt_in_a_row = 0
        self._pace.answered(waiting.popped_s, now_s)
        return Sent(waiting.dispatch.id, now_s - waiting.since_s)

    def failed(
        self, waiting: Waiting, error: LambdaExecutorError, now_s: float
    ) -> InDoubt | Refused | None:
        """Decide on a failed send: end it with an outcome, or keep it for later (None)."""
        self.under_way -= 1
        if isinstance(error, ThrottledError | CredentialsError | UnreachableError):
            heapq.heappush(self._ready, waiting)
            self._slow_down(waiting, error, now_s)
            return None
        if not isinstance(error, TransientError):
            return self._give_up(waiting, self._reason(waiting, error))
        waiting.failures += 1
        waiting.reason = str(error)
        if isinstance(error, InDoubtError):
            waiting.in_doubt += 1
            self._in_doubt_in_a_row += 1
            if self._gate.is_tried or self._in_doubt_in_a_row >= MOST_IN_DOUBT:
                what = "Lambda gives no answer that says whether it takes calls"
                self._close(waiting, error, UNREACHABLE, what, now_s)
            if waiting.in_doubt >= self._max_attempts:
                times = f"{waiting.in_doubt} times (max_invoke_attempts)"
                return self._give_up(waiting, f"the invoke failed {times}, last: {error}")
        delay_s = RETRY.delay_s(waiting.failures, self._uniform)
        heapq.heappush(self._delayed, (now_s + delay_s, waiting))
        id, extra = waiting.dispatch.id, about(waiting.dispatch.id, waiting.dispatch.key)
        log.warning("Invoke of %s failed, next try in %.1f s: %s", id, delay_s, error, extra=extra)
        return None

    def _give_up(self, waiting: Waiting, reason: str) -> InDoubt | Refused:
        kind = InDoubt if waiting.in_doubt else Refused
        return kind(waiting.dispatch.id, reason)

    def _reason(self, waiting: Waiting, error: LambdaExecutorError) -> str:
        """Why it is given up; for one that waited too long, what it waited for."""
        last = waiting.reason or self._gate.reason
        if isinstance(error, ExpiredError) and last:
            return f"{error}. The last send failed: {last}"
        return str(error)

    def _slow_down(self, waiting: Waiting, error: AwsError, now_s: float) -> None:
        """Lower the rate, or close the gate, after an error that the next send would share."""
        if isinstance(error, ThrottledError):
            self.throttles += 1
            before_per_s = self._pace.per_s
            nothing_taken = self._pace.throttled(waiting.popped_s, now_s)
            if nothing_taken or self._gate.is_tried:
                self._close(waiting, error, THROTTLE, "Lambda takes no calls", now_s)
            elif self._pace.per_s < before_per_s:
                log.warning("Lambda throttles: %.0f calls per second (%s)", self._pace.per_s, error)
        elif isinstance(error, CredentialsError):
            self._close(waiting, error, CREDENTIALS, "AWS credentials do not work", now_s)
        else:
            what = (
                "Lambda cannot be reached (check DNS, the route, the proxy and the certificates "
                "between the scheduler and this endpoint)"
            )
            self._close(waiting, error, UNREACHABLE, what, now_s)

    def _close(
        self, waiting: Waiting, error: AwsError, backoff: Backoff, what: str, now_s: float
    ) -> None:
        delay_s = self._gate.close(str(error), backoff, waiting.popped_s, now_s)
        if delay_s is not None:
            log.error(
                "%s: nothing is sent, %d invocations wait, next try in %.1f s: %s",
                what,
                len(self),
                delay_s,
                error,
            )
