"""The queue of pending invocations and every decision on a failed send. No threads, no clock."""

from __future__ import annotations

import heapq
import itertools
import logging
import math
import random
from collections import Counter
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from operator import itemgetter

from lambda_executor.contract.errors import (
    AwsError,
    CredentialsError,
    DeniedError,
    ExpiredError,
    InDoubtError,
    LambdaExecutorError,
    NoRoomError,
    ThrottledError,
    TransientError,
    UnreachableError,
)
from lambda_executor.contract.log_lines import about
from lambda_executor.contract.wire import InvocationId
from lambda_executor.core.apis import LAMBDA, Api
from lambda_executor.core.backoff import Backoff, Uniform
from lambda_executor.core.dispatch import Dispatch, InDoubt, Outlived, Refused, Sent
from lambda_executor.core.gate import Gate
from lambda_executor.core.pace import Pace
from lambda_executor.core.places import Limit, Limits, Places

log = logging.getLogger(__name__)

#: The delay after an error that is about one invocation, of that invocation alone.
RETRY = Backoff(base_s=0.5, cap_s=30)
#: The delay of all sends while nothing is taken.
THROTTLE = Backoff(base_s=0.2, cap_s=20, floor=0.5)
#: The delay of all sends while credentials do not work.
CREDENTIALS = Backoff(base_s=2, cap_s=30, floor=0.5)
#: The delay of all sends while the API cannot be reached, or does not answer as it should.
UNREACHABLE = Backoff(base_s=1, cap_s=30, floor=0.5)
#: For how long an invocation is tried again that the role may not send. Permissions that were just
#: given, or taken by mistake and given back, cost no try; those that are missing are told soon.
DENIED_S = 60.0
#: Sends in a row that may have been taken, after which the API is taken to be in trouble for all.
MOST_IN_DOUBT = 8


@dataclass(order=True, slots=True)
class Waiting:
    """An invocation in the queue, or being sent.

    Attributes:
        order: What decides who leaves first: the negative priority, and the number of the push.
        dispatch: The invocation.
        since_s: When it was submitted.
        failures: The sends that failed for a reason of its own.
        in_doubt: How many of them may have been taken.
        denied_s: When the role might not send it for the first time; infinite: it always might.
        error: That of the last of them.
        popped_s: When its last send began.
    """

    order: tuple[float, int]
    dispatch: Dispatch = field(compare=False)
    since_s: float = field(compare=False)
    failures: int = field(default=0, compare=False)
    in_doubt: int = field(default=0, compare=False)
    denied_s: float = field(default=math.inf, compare=False)
    error: AwsError | None = field(default=None, compare=False)
    popped_s: float = field(default=0.0, compare=False)

    def denied_for_s(self, now_s: float) -> float:
        """Take note that the role may not send it, and return since how many seconds it may not."""
        self.denied_s = min(self.denied_s, now_s)
        return now_s - self.denied_s


class DispatchQueue:
    """The pending invocations of one executor that one API takes.

    Ready invocations leave as fast as `Pace` allows and while their function has a place: the
    highest priority first, and in submission order among equals. A function without a place does
    not hold up the others. An error that is about one invocation delays that one. An error that the
    next send would share closes the gate for all, and so do many sends in a row that may or may not
    have been taken.
    Only a send that may have been taken counts as an attempt; everything else that may succeed
    later is tried again until the dispatch's `prepare` refuses it, and what the role may not send
    for a minute.

    Args:
        max_attempts: How often an invocation is sent that may have been taken.
        most_under_way: The most sends at the same time.
        api: What takes them.
        uniform: Draws the jitter.

    Attributes:
        under_way: The number of sends that have no result yet.
        throttles: The number of throttled sends.
    """

    def __init__(
        self,
        max_attempts: int,
        *,
        most_under_way: int,
        api: Api = LAMBDA,
        uniform: Uniform = random.uniform,
    ) -> None:
        self._api = api
        self._max_attempts = max_attempts
        self._pace = Pace(most_under_way, api)
        self._gate = Gate(uniform)
        self._uniform = uniform
        self.under_way = 0
        self.throttles = 0
        self._in_doubt_in_a_row = 0
        self._order = itertools.count()
        self._places = Places()
        self._full_at_s: dict[str, float] = {}
        self._ready: dict[str, list[Waiting]] = {}
        self._ready_ids: set[InvocationId] = set()
        self._delayed: list[tuple[float, Waiting]] = []

    def __len__(self) -> int:
        return sum(map(len, self._ready.values())) + len(self._delayed)

    def push(self, dispatch: Dispatch, now_s: float) -> None:
        """Add one invocation behind those of the same priority."""
        self._push(Waiting((-dispatch.priority, next(self._order)), dispatch, now_s))

    def pop(self, now_s: float) -> Waiting | None:
        """Take out the next invocation, if one may be sent now."""
        if self.wait_s(now_s) != 0:
            return None
        while self._delayed and self._delayed[0][0] <= now_s:
            self._push(heapq.heappop(self._delayed)[1])
        while ready := self._next_ready(now_s):
            waiting = heapq.heappop(ready)
            self._ready_ids.discard(waiting.dispatch.id)
            if waiting.dispatch.wanted():
                waiting.popped_s = now_s
                self.under_way += 1
                self._pace.began(now_s)
                self._places.take(waiting.dispatch.id, waiting.dispatch.function, now_s)
                return waiting
        return None

    def wait_s(self, now_s: float) -> float | None:
        """Seconds until `pop` may return one.

        None: not before a push, the end of a send, or the end of an invocation.
        """
        if self.under_way >= (1 if self._gate.is_tried else self._pace.limit):
            return None
        if self._next_ready(now_s):
            due_s = 0.0
        elif self._delayed:
            due_s = self._delayed[0][0]
        else:
            return None
        return max(0.0, due_s - now_s, self._gate.wait_s(now_s), self._pace.wait_s(now_s))

    # ---- places ----

    def limit(self, limits: Limits) -> None:
        """Replace the limits of all functions."""
        self._places.limit(limits)
        most = {limit.name: limit.most for limit in limits.values() if limit}
        self._pace.expect(sum(most.values()))

    def lift_limits(self) -> None:
        """Send everything, whether it can start or not."""
        self._places.lift()

    def adopted(self, id: InvocationId, function: str) -> None:
        """Record that another scheduler's invocation has a place."""
        self._places.take(id, function, None)

    def ended(self, id: InvocationId, now_s: float, result_s: float = 0) -> None:
        """Record that an invocation has ended, which frees its place; see `Places.ended`."""
        self._places.ended(id, now_s, result_s)

    def drop(self, ids: Collection[InvocationId]) -> None:
        """Drop what waits, and free the places, of invocations that are not live any more."""
        for id in ids:
            self._places.free(id)
        if self._ready_ids.isdisjoint(ids):
            return
        gone = self._ready_ids.intersection(ids)
        self._ready_ids -= gone
        for function, ready in self._ready.items():
            kept = [waiting for waiting in ready if waiting.dispatch.id not in gone]
            if len(kept) < len(ready):
                heapq.heapify(kept)
                self._ready[function] = kept

    def held(self, now_s: float) -> int:
        """Return how many invocations wait only because their function has no free place."""
        return sum(
            len(ready)
            for function, ready in self._ready.items()
            if not self._places.are_free(function, now_s)
        )

    def room(self, now_s: float) -> Mapping[Limit, int]:
        """Return how many more invocations should be pushed, for each limit; empty: any number."""
        waiting = Counter({function: len(ready) for function, ready in self._ready.items()})
        waiting.update(one.dispatch.function for _, one in self._delayed)
        return self._places.room(waiting, now_s)

    def _push(self, waiting: Waiting) -> None:
        if not waiting.dispatch.wanted():
            return  # It has been dropped while it was sent, or while it was delayed.
        self._ready_ids.add(waiting.dispatch.id)
        heapq.heappush(self._ready.setdefault(waiting.dispatch.function, []), waiting)

    def _next_ready(self, now_s: float) -> list[Waiting] | None:
        """The heap of the function whose first invocation leaves next, if one may leave."""
        may_leave = []
        for function, ready in self._ready.items():
            if ready and self._places.are_free(function, now_s):
                may_leave.append(ready)
            elif ready:
                self._full_at_s[function] = now_s
        return min(may_leave, key=itemgetter(0), default=None)

    def _had_no_room(self, waiting: Waiting) -> bool:
        """Whether an invocation was not taken for want of room: its function's or its service's."""
        if waiting.error is not None:
            return isinstance(waiting.error, NoRoomError) and not waiting.in_doubt
        full_at_s = self._full_at_s.get(waiting.dispatch.function, -math.inf)
        return full_at_s >= waiting.since_s and not self._gate.reason

    # ---- what became of a send ----

    def succeeded(self, waiting: Waiting, now_s: float) -> Sent:
        """Record that an invocation was taken."""
        self.under_way -= 1
        self._gate.succeeded()
        self._in_doubt_in_a_row = 0
        self._pace.answered(waiting.popped_s, now_s)
        self._places.invoked(now_s - waiting.popped_s)
        return Sent(waiting.dispatch.id, now_s - waiting.since_s)

    def failed(
        self, waiting: Waiting, error: LambdaExecutorError, now_s: float
    ) -> InDoubt | Refused | Outlived | None:
        """Decide on a failed send: end it with an outcome, or keep it for later (None)."""
        self.under_way -= 1
        # If one in doubt was taken, one too many is in flight for a while. If not, its place would
        # stay empty until Airflow revokes it.
        self._places.free(waiting.dispatch.id)
        if isinstance(error, ThrottledError | CredentialsError | UnreachableError):
            self._push(waiting)
            self._slow_down(waiting, error, now_s)
            return None
        if isinstance(error, ExpiredError) and self._had_no_room(waiting):
            return Outlived(waiting.dispatch.id, self._reason(waiting, error))
        denied_for_s = waiting.denied_for_s(now_s) if isinstance(error, DeniedError) else 0.0
        if not isinstance(error, TransientError | DeniedError) or denied_for_s >= DENIED_S:
            return self._give_up(waiting, self._reason(waiting, error))
        waiting.failures += 1
        waiting.error = error
        if isinstance(error, InDoubtError):
            waiting.in_doubt += 1
            self._in_doubt_in_a_row += 1
            if self._gate.is_tried or self._in_doubt_in_a_row >= MOST_IN_DOUBT:
                what = f"{self._api.name} gives no answer that says whether it takes calls"
                self._close(waiting, error, UNREACHABLE, what, now_s)
            if waiting.in_doubt >= self._max_attempts:
                times = f"{waiting.in_doubt} times (max_invoke_attempts)"
                reason = f"the {self._api.call} failed {times}, last: {error}"
                return self._give_up(waiting, reason)
        delay_s = RETRY.delay_s(waiting.failures, self._uniform)
        if isinstance(error, InDoubtError):
            delay_s = max(delay_s, self._api.found_after_s)
        heapq.heappush(self._delayed, (now_s + delay_s, waiting))
        id, extra = waiting.dispatch.id, about(waiting.dispatch.id, waiting.dispatch.key)
        call = self._api.call.capitalize()
        log.warning(
            "%s of %s failed, next try in %.1f s: %s", call, id, delay_s, error, extra=extra
        )
        return None

    def _give_up(self, waiting: Waiting, reason: str) -> InDoubt | Refused:
        kind = InDoubt if waiting.in_doubt else Refused
        return kind(waiting.dispatch.id, reason)

    def _reason(self, waiting: Waiting, error: LambdaExecutorError) -> str:
        """Why it is given up; for one that waited too long, what it waited for."""
        last = waiting.error or self._gate.reason
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
                self._close(waiting, error, THROTTLE, f"{self._api.name} takes no calls", now_s)
            elif self._pace.per_s < before_per_s:
                name, per_s = self._api.name, self._pace.per_s
                log.warning("%s throttles: %.0f calls per second (%s)", name, per_s, error)
        elif isinstance(error, CredentialsError):
            self._close(waiting, error, CREDENTIALS, "AWS credentials do not work", now_s)
        else:
            what = (
                f"{self._api.name} cannot be reached (check DNS, the route, the proxy and the "
                "certificates between the scheduler and this endpoint)"
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
