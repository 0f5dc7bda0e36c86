"""The event queues of asynchronous invocations: events run in order, are retried or given up.

Follows https://docs.aws.amazon.com/lambda/latest/dg/invocation-async-error-handling.html with
shorter delays. A throttled event waits, without using up an attempt, until it can run or expires.
"""

from __future__ import annotations

import logging
import threading
import time
from collections import Counter, defaultdict, deque
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace

from local_aws.lambda_service.model import (
    FunctionKey,
    FunctionVersion,
    InvokeRequest,
    InvokeResponse,
)
from local_aws.lambda_service.pool import Functions, Permit, Pools, Throttled
from local_aws.lambda_service.restored_environment import SnapStartError

logger = logging.getLogger("local_aws.lambda_service.async_queue")

#: How often waiting events are checked for their age.
_EXPIRY_CHECK_S = 1.0


#: Seconds from an event's acceptance until it is delivered once more; None: it is not.
Duplication = Callable[[FunctionVersion], float | None]


@dataclass(frozen=True, slots=True)
class AsyncSettings:
    """The command line's `--retry-delay` and `--duplicate-every`."""

    retry_delay_s: float
    duplicate_every: int


@dataclass(frozen=True, slots=True)
class EventInvokeConfig:
    """How long one event is tried, and its destinations; an empty ARN: none."""

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
        """The time after which no attempt starts."""
        return self.accepted_s + self.config.max_age_s


@dataclass(frozen=True, slots=True)
class Settled:
    """An event that succeeded or was given up.

    Attributes:
        condition: `Success`, `RetriesExhausted`, `EventAgeExceeded` or `Throttled`.
        reason: Why it was given up; empty after success.
        status: The HTTP status in Lambda's record of it.
    """

    event: Event
    condition: str
    reason: str = ""
    status: int = 200


class AsyncQueue:
    """The event queues of all functions.

    Args:
        functions: The events of a deleted function are dropped.
        settle: Called for every settled event, on one of the queue's threads.
        duplications: Asked in turn about every accepted event, until one duplicates it.
    """

    def __init__(
        self,
        functions: Functions,
        settle: Callable[[Settled], None],
        retry_delay_s: float,
        duplications: Sequence[Duplication] = (),
    ) -> None:
        self._functions = functions
        self._settle = settle
        self._retry_delay_s = retry_delay_s
        self._duplications = duplications
        self._lock = threading.Lock()
        self._waiting: dict[FunctionKey, deque[Event]] = defaultdict(deque)
        self._threads = ThreadPoolExecutor(max_workers=512, thread_name_prefix="async-invoke")
        self._pools: Pools | None = None
        self._closed = threading.Event()
        threading.Thread(target=self._expire, name="expiry", daemon=True).start()

    def attach(self, pools: Pools) -> None:
        """Set the pools that run events; they call `dispatch` after each release."""
        self._pools = pools

    def put(self, event: Event) -> None:
        """Accept an event; a duplicate has its own attempts and is settled separately."""
        delays = (duplication(event.function) for duplication in self._duplications)
        again_s = next((delay_s for delay_s in delays if delay_s is not None), None)
        with self._lock:
            self._waiting[event.function.function_key] += [event] * (2 if again_s == 0 else 1)
        self.dispatch()
        if again_s:
            _after(again_s, self._put_again, event)

    def dispatch(self) -> None:
        """Start waiting events that may run now, oldest first, and give up those that cannot."""
        with self._lock:
            for function, waiting in self._waiting.items():
                if waiting and not self._closed.is_set():
                    self._dispatch_function(function, waiting)

    def close(self) -> None:
        """Forget the waiting events and let the threads end; nothing is settled any more."""
        self._closed.set()
        with self._lock:
            self._waiting.clear()
        self._threads.shutdown(wait=False, cancel_futures=True)

    def _expire(self) -> None:
        while not self._closed.wait(_EXPIRY_CHECK_S):
            self.dispatch()

    def _dispatch_function(self, function: FunctionKey, waiting: deque[Event]) -> None:
        if not self._functions.exists(function):
            waiting.clear()
            return
        now_s = time.time()
        paused = self._functions.reserved_concurrency(function) == 0
        assert self._pools is not None  # noqa: S101 - attached at start
        while waiting:
            event = waiting[0]
            if paused:
                settled = Settled(event, "Throttled", "Rate Exceeded.", 429)
                self._threads.submit(self._finish, settled)
            elif event.expires_s <= now_s:
                self._threads.submit(self._finish, _expired(event))
            else:
                permit = self._pools.try_acquire(event.function, event.invocation.tenant_id)
                if isinstance(permit, Throttled):
                    return
                self._threads.submit(self._attempt, self._pools, permit, event)
            waiting.popleft()

    def _attempt(self, pools: Pools, permit: Permit, event: Event) -> None:
        try:
            outcome = pools.run(permit, event.invocation)
        except SnapStartError as e:
            outcome = InvokeResponse(b"{}", failed=True, reason=str(e))
        except Exception as e:
            logger.exception("could not run %s", event.function.name)
            reason = f"the environment did not start: {e}"
            outcome = InvokeResponse(b"{}", failed=True, reason=reason)
        if self._closed.is_set():
            return  # it failed because its environment was ended
        event = replace(event, attempts=event.attempts + 1, last=outcome)
        delay_s = self._retry_delay_s * 2 ** (event.attempts - 1)
        if not outcome.failed:
            self._finish(Settled(event, "Success"))
        elif event.attempts >= event.config.max_attempts:
            self._finish(Settled(event, "RetriesExhausted", outcome.reason))
        elif time.time() + delay_s >= event.expires_s:
            self._finish(_expired(event))
        else:
            _after(delay_s, self._requeue, event)

    def _put_again(self, event: Event) -> None:
        with self._lock:
            self._waiting[event.function.function_key].append(event)
        self.dispatch()

    def _requeue(self, event: Event) -> None:
        with self._lock:
            self._waiting[event.function.function_key].appendleft(event)
        self.dispatch()

    def _finish(self, settled: Settled) -> None:
        try:
            self._settle(settled)
        except Exception:
            logger.exception("could not send the record of %s", settled.event.invocation.request_id)


class EveryNth:
    """Duplicates every Nth event of each function, at once; 0: none."""

    def __init__(self, every: int) -> None:
        self._every = every
        self._lock = threading.Lock()
        self._accepted: Counter[FunctionKey] = Counter()

    def __call__(self, function: FunctionVersion) -> float | None:
        """Count an event and decide about it."""
        if not self._every:
            return None
        with self._lock:
            self._accepted[function.function_key] += 1
            return None if self._accepted[function.function_key] % self._every else 0.0


def _after(delay_s: float, action: Callable[[Event], None], event: Event) -> None:
    timer = threading.Timer(delay_s, action, [event])
    timer.daemon = True
    try:
        timer.start()
    except RuntimeError:  # The machine has no thread for the delay, so there is none.
        action(event)


def _expired(event: Event) -> Settled:
    reason = f"the event was older than {event.config.max_age_s:g} seconds before it could run"
    return Settled(event, "EventAgeExceeded", event.last.reason if event.last else reason)
