"""Asynchronous invocations: accepted at once, run in order as there is room, retried, given up.

Follows https://docs.aws.amazon.com/lambda/latest/dg/invocation-async-error-handling.html, except
that the delays are short. A throttled event waits (it costs no attempt) until there is room or it
is too old. It knows nothing of environments or queues' APIs: it is given `Pools` to run events
and a function that takes what it gives up on.
"""

from __future__ import annotations

import heapq
import itertools
import logging
import threading
import time
from collections import Counter, defaultdict, deque
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace

from local_aws.lambda_service.model import FunctionKey, FunctionVersion, Invocation, Outcome
from local_aws.lambda_service.pool import Permit, Pools, Throttled

logger = logging.getLogger("local_aws.lambda_service.async_queue")

#: How often waiting events are looked at for those that have become too old.
_EXPIRY_CHECK_S = 1.0


@dataclass(frozen=True, slots=True)
class EventInvokeConfig:
    """How one event is retried and where it goes in the end.

    Attributes:
        max_attempts: How often the handler is run, at most.
        max_age_s: The age after which no attempt is begun.
        on_failure_arn: The on-failure destination; empty: none.
        on_success_arn: The on-success destination; empty: none.
    """

    max_attempts: int
    max_age_s: float
    on_failure_arn: str
    on_success_arn: str


@dataclass(frozen=True, slots=True)
class Event:
    """One accepted asynchronous invocation."""

    function: FunctionVersion
    invocation: Invocation
    config: EventInvokeConfig
    accepted_s: float
    attempts: int = 0
    last: Outcome | None = None

    @property
    def expires_s(self) -> float:
        """When it is too old for another attempt."""
        return self.accepted_s + self.config.max_age_s


@dataclass(frozen=True, slots=True)
class Settled:
    """An event's end.

    Attributes:
        event: The event.
        condition: `Success`, `RetriesExhausted`, `EventAgeExceeded` or `Throttled`.
        reason: Why it was given up; empty after success.
        status: The HTTP status Lambda's records give for it.
    """

    event: Event
    condition: str
    reason: str = ""
    status: int = 200


class AsyncQueue:
    """The event queues of all functions.

    Args:
        exists: Whether a function is still there; the events of one that is not are dropped.
        reserved_concurrency: Tells a function's reserved concurrency; None: it has none.
        settle: Takes every event's end; called on one of the queue's threads.
        retry_delay_s: The pause before the first retry; the second waits twice as long.
        duplicate_every: Every how manieth event of a function is delivered twice; 0: none.
    """

    def __init__(
        self,
        *,
        exists: Callable[[FunctionKey], bool],
        reserved_concurrency: Callable[[FunctionKey], int | None],
        settle: Callable[[Settled], None],
        retry_delay_s: float,
        duplicate_every: int,
    ) -> None:
        self._exists = exists
        self._reserved_concurrency = reserved_concurrency
        self._settle = settle
        self._retry_delay_s = retry_delay_s
        self._duplicate_every = duplicate_every
        self._accepted: Counter[FunctionKey] = Counter()
        self._lock = threading.Lock()
        self._waiting: dict[FunctionKey, deque[Event]] = defaultdict(deque)
        self._threads = ThreadPoolExecutor(max_workers=512, thread_name_prefix="async-invoke")
        self._timers = _Timers()
        self._pools: Pools | None = None
        self._closed = threading.Event()
        threading.Thread(target=self._expire, name="expiry", daemon=True).start()

    def attach(self, pools: Pools) -> None:
        """Name the pools that run events; `Pools` in turn calls `dispatch` after each release."""
        self._pools = pools

    def put(self, event: Event) -> None:
        """Accept an event.

        "Invoked at least once": the copy is as good as the original, each has its own attempts
        and its own end.
        """
        function = event.function.function_key
        with self._lock:
            self._waiting[function].append(event)
            self._accepted[function] += 1
            if self._duplicate_every and self._accepted[function] % self._duplicate_every == 0:
                self._waiting[function].append(event)
        self.dispatch()

    def dispatch(self) -> None:
        """Start every waiting event that may run now, oldest first, and drop what cannot."""
        with self._lock:
            for function, waiting in self._waiting.items():
                if waiting and not self._closed.is_set():
                    self._dispatch_function(function, waiting)

    def close(self) -> None:
        """Forget what is waiting, give nothing up any more and let the threads end."""
        self._closed.set()
        with self._lock:
            self._waiting.clear()
        self._timers.close()
        self._threads.shutdown(wait=False, cancel_futures=True)

    def _expire(self) -> None:
        while not self._closed.wait(_EXPIRY_CHECK_S):
            self.dispatch()

    def _dispatch_function(self, function: FunctionKey, waiting: deque[Event]) -> None:
        if not self._exists(function):
            waiting.clear()
            return
        now_s = time.time()
        paused = self._reserved_concurrency(function) == 0
        assert self._pools is not None  # noqa: S101 - attached at start
        while waiting:
            event = waiting[0]
            if paused:
                settled = Settled(event, "Throttled", "Rate Exceeded.", 429)
                self._threads.submit(self._give_up, settled)
            elif event.expires_s <= now_s:
                self._threads.submit(self._give_up, _expired(event))
            else:
                permit = self._pools.try_acquire(event.function, event.invocation.tenant_id)
                if isinstance(permit, Throttled):
                    return
                self._threads.submit(self._attempt, self._pools, permit, event)
            waiting.popleft()

    def _attempt(self, pools: Pools, permit: Permit, event: Event) -> None:
        try:
            outcome = pools.run(permit, event.invocation)
        except Exception as e:
            logger.exception("could not run %s", event.function.name)
            outcome = Outcome(b"{}", failed=True, reason=f"the environment did not start: {e}")
        if self._closed.is_set():
            return  # it failed because its environment was ended
        event = replace(event, attempts=event.attempts + 1, last=outcome)
        if not outcome.failed:
            self._give_up(Settled(event, "Success"))
            return
        if event.attempts >= event.config.max_attempts:
            self._give_up(Settled(event, "RetriesExhausted", outcome.reason))
            return
        retry_s = time.time() + self._retry_delay_s * 2 ** (event.attempts - 1)
        if retry_s >= event.expires_s:
            self._give_up(_expired(event))
        else:
            self._timers.at(retry_s, lambda: self._requeue(event))

    def _requeue(self, event: Event) -> None:
        with self._lock:
            self._waiting[event.function.function_key].appendleft(event)
        self.dispatch()

    def _give_up(self, settled: Settled) -> None:
        try:
            self._settle(settled)
        except Exception:
            logger.exception("the end of %s was lost", settled.event.invocation.request_id)


def _expired(event: Event) -> Settled:
    reason = (
        event.last.reason
        if event.last
        else (f"the event was older than {event.config.max_age_s:g} seconds before it could run")
    )
    return Settled(event, "EventAgeExceeded", reason)


class _Timers:
    """Calls functions at their time, on one thread."""

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._due: list[tuple[float, int, Callable[[], None]]] = []
        self._order = itertools.count()
        self._closed = False
        threading.Thread(target=self._run, name="timers", daemon=True).start()

    def at(self, time_s: float, call: Callable[[], None]) -> None:
        """Call a function at a time in seconds since the epoch."""
        with self._changed:
            heapq.heappush(self._due, (time_s, next(self._order), call))
            self._changed.notify()

    def close(self) -> None:
        """Forget what is due."""
        with self._changed:
            self._closed = True
            self._changed.notify()

    def _run(self) -> None:
        while True:
            with self._changed:
                while not self._closed and (not self._due or self._due[0][0] > time.time()):
                    self._changed.wait(self._due[0][0] - time.time() if self._due else None)
                if self._closed:
                    return
                call = heapq.heappop(self._due)[2]
            call()
