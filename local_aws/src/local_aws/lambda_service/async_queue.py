"""Asynchronous invocations: accepted at once, run in order as there is room, retried, given up.

Follows https://docs.aws.amazon.com/lambda/latest/dg/invocation-async-error-handling.html, except
that the delays are short. A throttled event waits (it costs no attempt) until there is room or it
is too old. It knows nothing of environments or queues' APIs: it is given `Pools` to run events
and a function that takes what it gives up on.
"""

from __future__ import annotations

import logging
import threading
import time
from collections import Counter, defaultdict, deque
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace

from local_aws.lambda_service.model import (
    FunctionKey,
    FunctionVersion,
    InvokeRequest,
    InvokeResponse,
)
from local_aws.lambda_service.pool import Permit, Pools, Throttled

logger = logging.getLogger("local_aws.lambda_service.async_queue")

#: How often waiting events are looked at for those that have become too old.
_EXPIRY_CHECK_S = 1.0


@dataclass(frozen=True, slots=True)
class AsyncSettings:
    """How asynchronous invocations are delivered.

    Attributes:
        retry_delay_s: The pause before the first retry; the second waits twice as long.
        duplicate_every: Deliver every N-th event of a function twice; 0: none.
    """

    retry_delay_s: float
    duplicate_every: int


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
    invocation: InvokeRequest
    config: EventInvokeConfig
    accepted_s: float
    attempts: int = 0
    last: InvokeResponse | None = None

    @property
    def expires_s(self) -> float:
        """When it is too old for another attempt."""
        return self.accepted_s + self.config.max_age_s


@dataclass(frozen=True, slots=True)
class Settled:
    """An event's end.

    Attributes:
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
        settings: How events are delivered.
    """

    def __init__(
        self,
        *,
        exists: Callable[[FunctionKey], bool],
        reserved_concurrency: Callable[[FunctionKey], int | None],
        settle: Callable[[Settled], None],
        settings: AsyncSettings,
    ) -> None:
        self._exists = exists
        self._reserved_concurrency = reserved_concurrency
        self._settle = settle
        self._settings = settings
        self._accepted: Counter[FunctionKey] = Counter()
        self._lock = threading.Lock()
        self._waiting: dict[FunctionKey, deque[Event]] = defaultdict(deque)
        self._threads = ThreadPoolExecutor(max_workers=512, thread_name_prefix="async-invoke")
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
            every = self._settings.duplicate_every
            if every and self._accepted[function] % every == 0:
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
            outcome = InvokeResponse(
                b"{}", failed=True, reason=f"the environment did not start: {e}"
            )
        if self._closed.is_set():
            return  # it failed because its environment was ended
        event = replace(event, attempts=event.attempts + 1, last=outcome)
        if not outcome.failed:
            self._give_up(Settled(event, "Success"))
            return
        if event.attempts >= event.config.max_attempts:
            self._give_up(Settled(event, "RetriesExhausted", outcome.reason))
            return
        delay_s = self._settings.retry_delay_s * 2 ** (event.attempts - 1)
        if time.time() + delay_s >= event.expires_s:
            self._give_up(_expired(event))
            return
        timer = threading.Timer(delay_s, self._requeue, [event])
        timer.daemon = True
        timer.start()

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
