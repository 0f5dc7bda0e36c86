"""Sends invocations to Lambda, on its own threads, in the order in which they were submitted.

It owns what waits to be sent and every decision about a failed send; it must not know Airflow,
boto3 or the ledger. The scheduler's thread submits and collects outcomes, and never waits.
"""

from __future__ import annotations

import heapq
import itertools
import logging
import random
import threading
import time
from collections import deque
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field

from lambda_executor.contract.errors import (
    AwsError,
    CredentialsError,
    EncodeError,
    RejectedError,
    RouteError,
    ThrottledError,
)
from lambda_executor.contract.wire import InvocationId
from lambda_executor.core.backoff import Backoff, Uniform
from lambda_executor.core.concurrency import Concurrency
from lambda_executor.core.ports import FunctionInvoker
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
    """

    id: InvocationId
    prepare: Callable[[], Envelope] = field(repr=False)
    wanted: Callable[[], bool] = field(default=lambda: True, repr=False)


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
class _Waiting:
    order: int
    dispatch: Dispatch = field(compare=False)
    since_s: float = field(compare=False)
    failures: int = field(default=0, compare=False)
    popped_s: float = field(default=0.0, compare=False)


class DispatchQueue:
    """What waits to be sent, and when the next of it may go: pure, without threads.

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
        self._ready: list[_Waiting] = []
        self._delayed: list[tuple[float, _Waiting]] = []
        self._gate_opens_s = 0.0
        self._pauses_in_a_row = 0

    def __len__(self) -> int:
        return len(self._ready) + len(self._delayed)

    def push(self, dispatch: Dispatch, now_s: float) -> None:
        """Add one invocation behind all others."""
        heapq.heappush(self._ready, _Waiting(next(self._order), dispatch, now_s))

    def pop(self, now_s: float) -> _Waiting | None:
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

    def succeeded(self, waiting: _Waiting, now_s: float) -> Sent:
        """Lambda took it: the gate is known to be open."""
        self.under_way -= 1
        self._pauses_in_a_row = 0
        self._concurrency.answered(now_s - waiting.popped_s)
        return Sent(waiting.dispatch.id, now_s - waiting.since_s)

    def failed(self, waiting: _Waiting, error: AwsError, now_s: float) -> Refused | None:
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
        log.warning(
            "Invoke of %s failed, next try in %.1f s: %s", waiting.dispatch.id, delay_s, error
        )
        return None

    def _pause(self, waiting: _Waiting, backoff: Backoff, now_s: float) -> float | None:
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


class Dispatcher:
    """Threads that empty a `DispatchQueue` into Lambda, as many as there is use for.

    Args:
        invoker: Sends one payload; shared by all threads.
        threads: How many invokes may be under way at once, at most.
        max_attempts: See `DispatchQueue`.
        clock: Seconds that only grow.
    """

    def __init__(
        self,
        invoker: FunctionInvoker,
        *,
        threads: int,
        max_attempts: int,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._invoker = invoker
        self._clock = clock
        self._queue = DispatchQueue(max_attempts, most_under_way=threads)
        self._outcomes: deque[Outcome] = deque()
        lock = threading.Lock()
        self._sendable = threading.Condition(lock)
        self._settled = threading.Condition(lock)
        self._threads = [self._thread(0)]
        self._most_threads = threads
        self._idle = 0
        self._closed = False

    def start(self) -> None:
        """Start the first thread; it calls in others."""
        self._threads[0].start()

    def submit(self, dispatches: Iterable[Dispatch]) -> None:
        """Queue invocations behind all earlier ones."""
        with self._sendable:
            now_s = self._clock()
            for dispatch in dispatches:
                self._queue.push(dispatch, now_s)
            self._sendable.notify()

    def outcomes(self) -> list[Outcome]:
        """What became of earlier submissions since the last call."""
        return [self._outcomes.popleft() for _ in range(len(self._outcomes))]

    def throttles(self) -> int:
        """How many sends were throttled since the last call."""
        with self._sendable:
            throttles, self._queue.throttles = self._queue.throttles, 0
            return throttles

    def __len__(self) -> int:
        """How many invocations wait to be sent."""
        with self._sendable:
            return len(self._queue)

    def drain(self, timeout_s: float) -> int:
        """Wait until everything submitted has an outcome; returns how much has none in time."""
        with self._settled:
            self._settled.wait_for(lambda: not self._unsettled(), timeout_s)
            return self._unsettled()

    def close(self, timeout_s: float) -> None:
        """End the threads, letting the invokes under way finish."""
        deadline_s = self._clock() + timeout_s
        with self._sendable:
            self._closed = True
            self._sendable.notify_all()
        for thread in self._threads:
            if thread.is_alive():
                thread.join(max(0.0, deadline_s - self._clock()))

    def _unsettled(self) -> int:
        return len(self._queue) + self._queue.under_way

    def _run(self) -> None:
        while (waiting := self._next()) is not None:
            error: AwsError | None = None
            try:
                envelope = waiting.dispatch.prepare()
                self._invoker.invoke(envelope.target, envelope.payload)
            except AwsError as e:
                error = e
            except (EncodeError, RouteError) as e:
                error = RejectedError(str(e))
            except Exception as e:
                # A fault of ours must fail this workload and not the thread that sends the others.
                log.exception("Invoke of %s failed unexpectedly", waiting.dispatch.id)
                error = RejectedError(f"the invoke failed: {e!r}")
            self._note(waiting, error)

    def _note(self, waiting: _Waiting, error: AwsError | None) -> None:
        with self._sendable:
            now_s = self._clock()
            outcome: Outcome | None = (
                self._queue.succeeded(waiting, now_s)
                if error is None
                else self._queue.failed(waiting, error, now_s)
            )
            if outcome is not None:
                self._outcomes.append(outcome)
            if not self._unsettled():
                self._settled.notify_all()

    def _next(self) -> _Waiting | None:
        with self._sendable:
            while not self._closed:
                now_s = self._clock()
                if waiting := self._queue.pop(now_s):
                    another = self._call_another(now_s)
                    break
                if not self._unsettled():  # What was left is not wanted any more.
                    self._settled.notify_all()
                self._idle += 1
                self._sendable.wait(self._queue.wait_s(now_s))
                self._idle -= 1
            else:
                return None
        if another:
            self._start_thread(another)
        return waiting

    def _start_thread(self, thread: threading.Thread) -> None:
        try:
            thread.start()
        except RuntimeError as error:
            # The machine gives no more threads: those that are there send everything.
            log.warning("%s: %s", thread.name, error)
            with self._sendable:
                self._threads.remove(thread)

    def _call_another(self, now_s: float) -> threading.Thread | None:
        """Wake one more thread, or make one to start, if there is something to send for it."""
        if self._queue.wait_s(now_s) != 0:
            return None
        if self._idle:
            self._sendable.notify()
        elif len(self._threads) < self._most_threads:
            self._threads.append(self._thread(len(self._threads)))
            return self._threads[-1]
        return None

    def _thread(self, number: int) -> threading.Thread:
        return threading.Thread(target=self._run, name=f"lambda-dispatch-{number}", daemon=True)
