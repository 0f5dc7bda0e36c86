"""The threads that send invocations to one API.

One is enough while sends can begin without a wait for the answer. A thread that has to wait, for
boto3 or for the payload bucket, first sees to it that another one is there to send, for what is
queued now and for what is submitted later.

The `DispatchQueue` decides which invocation leaves next, and whether a failed send is repeated.
The scheduler's thread submits dispatches and collects outcomes, and never waits.
"""

from __future__ import annotations

import logging
import math
import threading
import time
from collections import deque
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from enum import Enum
from functools import partial
from typing import Any

from lambda_executor.contract.errors import (
    AwsError,
    InDoubtError,
    LambdaExecutorError,
    RejectedError,
)
from lambda_executor.contract.log_lines import about
from lambda_executor.contract.wire import InvocationId
from lambda_executor.core.apis import LAMBDA, Api
from lambda_executor.core.backlog import Waiting
from lambda_executor.core.dispatch import Dispatch, Outcome
from lambda_executor.core.dispatch_queue import DispatchQueue
from lambda_executor.core.places import Limit, Limits
from lambda_executor.core.ports import FunctionInvoker, InvocationBeginner
from lambda_executor.core.targets import JobTarget

log = logging.getLogger(__name__)


Ended = Callable[[LambdaExecutorError | None], None]
#: `JobLauncher.launch`.
Launch = Callable[[JobTarget, InvocationId, bytes, Mapping[str, Any]], None]


class Begun(Enum):
    """What a send returns whose answer comes later."""

    BEGUN = "begun"


def _launch_nothing(target: JobTarget, *_: object) -> None:
    raise RejectedError(f"{target} is for jobs, and this executor cannot start any of them")


class Dispatcher:
    """Threads that empty a `DispatchQueue` into one API.

    Args:
        invoker: Sends one payload to a function; shared by all threads.
        launch: Starts a job; shared by all threads.
        api: What takes the sends.
        threads: The most sends under way at once, and the most threads.
        max_attempts: See `DispatchQueue`.
        clock: A monotonic clock, in seconds.
    """

    def __init__(  # noqa: PLR0913 - what takes the sends, and how many at once
        self,
        invoker: FunctionInvoker,
        launch: Launch = _launch_nothing,
        *,
        api: Api = LAMBDA,
        threads: int,
        max_attempts: int,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._invoker = invoker
        self._beginner = invoker if isinstance(invoker, InvocationBeginner) else None
        self._launch = launch
        self._api = api
        self._clock = clock
        self._queue = DispatchQueue(max_attempts, most_under_way=threads, api=api)
        self._outcomes: deque[Outcome] = deque()
        self._maybe_taken: set[InvocationId] = set()
        lock = threading.Lock()
        self._sendable = threading.Condition(lock)
        self._settled = threading.Condition(lock)
        self._threads = [self._thread(0)]
        self._most_threads = threads
        self._idle = 0
        #: When an idle thread wakes by itself to send; one is enough for all.
        self._alarm_s = math.inf
        self._closed = False

    def start(self) -> None:
        """Start the first thread, which starts others as needed."""
        self._threads[0].start()

    def submit(self, dispatches: Iterable[Dispatch]) -> None:
        """Queue invocations behind all earlier ones of the same priority."""
        with self._sendable:
            now_s = self._clock()
            for dispatch in dispatches:
                self._queue.push(dispatch, now_s)
            self._sendable.notify()

    def outcomes(self) -> Iterator[Outcome]:
        """Yield the outcomes since the last call; each stays until the next one is asked for.

        So none is lost when their taking is interrupted, as by Airflow's handler of SIGTERM.
        """
        for _ in range(len(self._outcomes)):
            yield self._outcomes[0]
            self._outcomes.popleft()

    def untaken(self) -> int:
        """Return how many outcomes `outcomes` would return now."""
        return len(self._outcomes)

    def unsettled(self) -> int:
        """Return how many invocations have no outcome yet."""
        with self._sendable:
            return self._unsettled()

    def maybe_taken(self) -> set[InvocationId]:
        """Return the invocations without an outcome that are being sent, or are in doubt."""
        with self._sendable:
            return set(self._maybe_taken)

    def throttles(self) -> int:
        """Return the number of sends throttled since the last call."""
        with self._sendable:
            throttles, self._queue.throttles = self._queue.throttles, 0
            return throttles

    # ---- places ----

    def limit(self, limits: Limits) -> None:
        """Set how many invocations the functions may run at once."""
        with self._sendable:
            self._queue.limit(limits)
            self._sendable.notify()

    def adopted(self, id: InvocationId, function: str) -> None:
        """Count another scheduler's invocation among those of its function."""
        with self._sendable:
            self._queue.adopted(id, function)

    def ended(self, id: InvocationId, result_s: float = 0) -> None:
        """Send another invocation in the place of one that has ended. Safe on any thread.

        Args:
            id: The invocation.
            result_s: How long its result was in the queue, in seconds.
        """
        with self._sendable:
            self._queue.ended(id, self._clock(), result_s)
            self._sendable.notify()

    def drop(self, ids: Collection[InvocationId]) -> None:
        """Forget invocations that are not live any more."""
        if not ids:
            return
        with self._sendable:
            self._queue.drop(ids)
            self._maybe_taken.difference_update(ids)
            self._sendable.notify()

    def held(self) -> int:
        """Return how many invocations wait only because their function has no free place."""
        with self._sendable:
            return self._queue.held(self._clock())

    def room(self) -> Mapping[Limit, int]:
        """Return how many more should be submitted, for each limit; empty: any number."""
        with self._sendable:
            return self._queue.room(self._clock())

    # ---- the end ----

    def drain(self, timeout_s: float) -> int:
        """Send everything, whether it can start or not; return how many have no outcome in time.

        What was not sent can be given back then.
        """
        with self._settled:
            self._queue.lift_limits()
            self._sendable.notify()
            self._settled.wait_for(lambda: not self._unsettled(), timeout_s)
            return self._unsettled()

    def close(self, timeout_s: float) -> None:
        """End the threads; invokes under way get `timeout_s` seconds.

        One that has begun has no thread, but would end with the process: perhaps before it has
        left, and perhaps after Lambda took it.
        """
        deadline_s = self._clock() + timeout_s
        with self._settled:
            self._closed = True
            self._sendable.notify_all()
            self._settled.wait_for(lambda: not self._queue.under_way, timeout_s)
            threads = [thread for thread in self._threads if thread.is_alive()]
        for thread in threads:
            thread.join(max(0.0, deadline_s - self._clock()))

    def _unsettled(self) -> int:
        return len(self._queue) + self._queue.under_way

    def _run(self) -> None:
        while (waiting := self._next()) is not None:
            ended = partial(self._record, waiting)
            if (outcome := self._send(waiting.dispatch, ended)) is not Begun.BEGUN:
                ended(outcome)

    def _send(
        self, dispatch: Dispatch, ended: Ended | None = None
    ) -> LambdaExecutorError | Begun | None:
        """Send one invocation; return the error if that failed.

        Args:
            dispatch: The invocation.
            ended: Called later, with the error or None, if this returns that the send has begun;
                None: wait for the answer, and leave no other thread to send meanwhile.
        """
        unexpected: type[AwsError] = RejectedError
        try:
            envelope = dispatch.prepare()
            if envelope.store is not None:
                if ended:
                    self._leave_a_sender()
                envelope.store()
            unexpected = InDoubtError
            target, payload = envelope.target, envelope.payload
            if isinstance(target, JobTarget):
                if ended:
                    self._leave_a_sender()
                self._launch(target, dispatch.id, payload, envelope.overrides or {})
                return None
            if ended:
                if self._beginner and self._beginner.begin(target, payload, ended):
                    return Begun.BEGUN
                self._leave_a_sender()
            self._invoker.invoke(target, payload)
        except LambdaExecutorError as error:
            return error
        except Exception as error:
            # A bug must fail this workload, not the thread that sends the others.
            extra = about(dispatch.id, dispatch.key)
            call = self._api.call
            log.exception(
                "%s of %s failed unexpectedly", call.capitalize(), dispatch.id, extra=extra
            )
            return unexpected(f"the {call} failed: {error!r}")
        return None

    def _record(self, waiting: Waiting, error: LambdaExecutorError | None) -> None:
        with self._sendable:
            now_s = self._clock()
            outcome: Outcome | None = (
                self._queue.succeeded(waiting, now_s)
                if error is None
                else self._queue.failed(waiting, error, now_s)
            )
            if outcome is not None:
                self._outcomes.append(outcome)
            if outcome is not None or not waiting.in_doubt:
                self._maybe_taken.discard(waiting.dispatch.id)
            if not self._queue.under_way:
                self._settled.notify_all()
            if self._idle and len(self._queue):
                self._sendable.notify()

    def _next(self) -> Waiting | None:
        with self._sendable:
            while not self._closed:
                now_s = self._clock()
                if waiting := self._queue.pop(now_s):
                    self._maybe_taken.add(waiting.dispatch.id)
                    return waiting
                if not self._unsettled():  # `pop` dropped the rest: it is no longer wanted.
                    self._settled.notify_all()
                self._wait(now_s)
        return None

    def _wait(self, now_s: float) -> None:
        """Wait for a notification; until the next send is due, if no other thread does."""
        wait_s = self._queue.wait_s(now_s)
        alarm_s = math.inf if wait_s is None else now_s + wait_s
        if alarm_s < self._alarm_s:
            self._alarm_s = alarm_s
        else:
            wait_s = None
        self._idle += 1
        self._sendable.wait(wait_s)
        self._idle -= 1
        if self._alarm_s == alarm_s:
            self._alarm_s = math.inf

    def _leave_a_sender(self) -> None:
        """Leave a thread that can send while this one waits for AWS.

        Also if nothing is queued: what is submitted meanwhile must not wait too.
        """
        with self._sendable:
            thread = self._another(self._clock())
        if thread is None:
            return
        try:
            thread.start()
        except RuntimeError as error:
            # The machine allows no more threads; the existing ones send everything.
            log.warning("%s: %s", thread.name, error)
            with self._sendable:
                self._threads.remove(thread)

    def _another(self, now_s: float) -> threading.Thread | None:
        """Wake an idle thread if there is more to send; return one to start if none is idle.

        If the next send is due later, that thread will wait for it.
        """
        if self._idle:
            wait_s = self._queue.wait_s(now_s)
            if wait_s is not None and (wait_s == 0 or now_s + wait_s < self._alarm_s):
                self._sendable.notify()
        elif len(self._threads) < self._most_threads and not self._closed:
            self._threads.append(self._thread(len(self._threads)))
            return self._threads[-1]
        return None

    def _thread(self, number: int) -> threading.Thread:
        name = f"{self._api.threads}-{number}"
        return threading.Thread(target=self._run, name=name, daemon=True)
