"""The queue of pending invocations and every decision on a failed send. No threads, no clock."""

from __future__ import annotations

import heapq
import itertools
import logging
import math
import random
from collections import Counter
from collections.abc import Collection, Mapping

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
from lambda_executor.core.backlog import Backlog, Waiting
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


class DispatchQueue:
    """The pending invocations of one executor that one API takes.

    Ready invocations leave as fast as `Pace` allows and while their target has room: the highest
    priority first, and in submission order among equals. A function without a place does not hold
    up the others, and neither does a job target for which its service has no room (see `Backlog`).
    An error that is about one invocation delays that one. An error that the next send would share
    closes the gate for all, and so do many sends in a row that may or may not have been taken.
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
        self._backlogs: dict[str, Backlog] = {}
        self._ready_ids: set[InvocationId] = set()
        self._delayed: list[tuple[float, Waiting]] = []

    def __len__(self) -> int:
        return sum(map(len, self._backlogs.values())) + len(self._delayed)

    def push(self, dispatch: Dispatch, now_s: float) -> None:
        """Add one invocation behind those of the same priority."""
        self._push(Waiting((-dispatch.priority, next(self._order)), dispatch, now_s))

    def pop(self, now_s: float) -> Waiting | None:
        """Take out the next invocation, if one may be sent now."""
        if self.wait_s(now_s) != 0:
            return None
        while self._delayed and self._delayed[0][0] <= now_s:
            self._push(heapq.heappop(self._delayed)[1])
        while backlog := self._next_ready(now_s):
            waiting = backlog.pop()
            self._ready_ids.discard(waiting.dispatch.id)
            if waiting.dispatch.wanted():
                waiting.popped_s = now_s
                self.under_way += 1
                backlog.under_way += 1
                self._pace.began(now_s)
                self._places.take(waiting.dispatch.id, backlog.target, now_s)
                return waiting
        return None

    def wait_s(self, now_s: float) -> float | None:
        """Seconds until `pop` may return one.

        None: not before a push, the end of a send, or the end of an invocation.
        """
        if self.under_way >= (1 if self._gate.is_tried else self._pace.limit):
            return None
        wait_s = self._delayed[0][0] - now_s if self._delayed else math.inf
        for backlog in self._backlogs.values():
            wait_s = min(wait_s, self._room_in_s(backlog, now_s))
        if wait_s == math.inf:
            return None
        return max(0.0, wait_s, self._gate.wait_s(now_s), self._pace.wait_s(now_s))

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
        for backlog in self._backlogs.values():
            backlog.drop(gone)

    def held(self, now_s: float) -> int:
        """Return how many invocations wait only because their function has no free place."""
        return sum(
            len(backlog)
            for target, backlog in self._backlogs.items()
            if not self._places.are_free(target, now_s)
        )

    def room(self, now_s: float) -> Mapping[Limit, int]:
        """Return how many more invocations should be pushed, for each limit; empty: any number."""
        waiting = Counter({target: len(backlog) for target, backlog in self._backlogs.items()})
        waiting.update(one.dispatch.target_name for _, one in self._delayed)
        return self._places.room(waiting, now_s)

    def _push(self, waiting: Waiting, *, had_turn: bool = False) -> None:
        if waiting.dispatch.wanted():  # If not, it was dropped while it was sent or delayed.
            self._ready_ids.add(waiting.dispatch.id)
            self._backlog(waiting).push(waiting, had_turn=had_turn)

    def _backlog(self, waiting: Waiting) -> Backlog:
        target = waiting.dispatch.target_name
        if (backlog := self._backlogs.get(target)) is None:
            backlog = self._backlogs[target] = Backlog(target, self._uniform)
        return backlog

    def _next_ready(self, now_s: float) -> Backlog | None:
        """The backlog whose first invocation leaves next, if one may leave."""
        may_leave = [
            backlog for backlog in self._backlogs.values() if self._room_in_s(backlog, now_s) == 0
        ]
        return min(may_leave, key=Backlog.first, default=None)

    def _room_in_s(self, backlog: Backlog, now_s: float) -> float:
        """In how many seconds one may have room; infinite: not before a push, or an end."""
        if not backlog:
            return math.inf
        if self._places.are_free(backlog.target, now_s):
            return backlog.wait_s(now_s)
        backlog.full_s = now_s
        return math.inf

    def _only_waited(self, waiting: Waiting, backlog: Backlog) -> bool:
        """Whether nothing was wrong: there was no room, or it was the turn of others."""
        if waiting.in_doubt or (waiting.error is None and self._gate.reason):
            return False
        if waiting.error is None and self._api is not LAMBDA:
            return True
        return backlog.full_s >= max(waiting.since_s, waiting.failed_s)

    # ---- what became of a send ----

    def succeeded(self, waiting: Waiting, now_s: float) -> Sent:
        """Record that an invocation was taken."""
        self._send_ended(waiting).succeeded()
        self._answered(waiting, now_s)
        self._places.invoked(now_s - waiting.popped_s)
        return Sent(waiting.dispatch.id, now_s - waiting.since_s)

    def failed(
        self, waiting: Waiting, error: LambdaExecutorError, now_s: float
    ) -> InDoubt | Refused | Outlived | None:
        """Decide on a failed send: end it with an outcome, or keep it for later (None)."""
        backlog = self._send_ended(waiting)
        # If one in doubt was taken, one too many is in flight for a while. If not, its place would
        # stay empty until Airflow revokes it.
        self._places.free(waiting.dispatch.id)
        if isinstance(error, ThrottledError | CredentialsError | UnreachableError):
            self._push(waiting)
            self._slow_down(waiting, error, now_s)
            return None
        if isinstance(error, NoRoomError):
            self._answered(waiting, now_s)
            self._wait_for_room(waiting, backlog, error, now_s)
            return None
        if isinstance(error, ExpiredError) and self._only_waited(waiting, backlog):
            return Outlived(waiting.dispatch.id, self._reason(waiting, error))
        denied_for_s = waiting.denied_for_s(now_s) if isinstance(error, DeniedError) else 0.0
        if not isinstance(error, TransientError | DeniedError) or denied_for_s >= DENIED_S:
            return self._give_up(waiting, self._reason(waiting, error))
        waiting.failures += 1
        waiting.error, waiting.failed_s = error, now_s
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

    def _send_ended(self, waiting: Waiting) -> Backlog:
        backlog = self._backlog(waiting)
        backlog.under_way -= 1
        self.under_way -= 1
        return backlog

    def _answered(self, waiting: Waiting, now_s: float) -> None:
        """Record an answer that shows that the API takes calls."""
        self._gate.succeeded()
        self._in_doubt_in_a_row = 0
        self._pace.answered(waiting.popped_s, now_s)

    def _give_up(self, waiting: Waiting, reason: str) -> InDoubt | Refused:
        kind = InDoubt if waiting.in_doubt else Refused
        return kind(waiting.dispatch.id, reason)

    def _reason(self, waiting: Waiting, error: LambdaExecutorError) -> str:
        """Why it is given up; for one that waited too long, what it waited for."""
        last = waiting.error or self._gate.reason or self._backlog(waiting).reason
        if isinstance(error, ExpiredError) and last:
            return f"{error}. The last send failed: {last}"
        return str(error)

    def _wait_for_room(
        self, waiting: Waiting, backlog: Backlog, error: NoRoomError, now_s: float
    ) -> None:
        """Keep an invocation, and all of its target, until there may be room again."""
        waiting.error, waiting.failed_s = error, now_s
        self._push(waiting, had_turn=True)
        delay_s = backlog.had_no_room(error, waiting.popped_s, now_s)
        if delay_s is not None:
            log.warning(
                "No room on %s: %d invocations wait, one is tried in %.1f s: %s",
                backlog.target,
                len(backlog),
                delay_s,
                error,
            )

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
