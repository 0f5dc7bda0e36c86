"""The jobs of one engine, on all services: each has its own queue, pace, threads and watch.

So a service that throttles or cannot be reached delays neither functions nor another service.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Collection, Iterable, Iterator

from lambda_executor.contract.wire import InvocationId
from lambda_executor.core import apis
from lambda_executor.core.dispatch import Dispatch, Outcome
from lambda_executor.core.ports import Endpoints
from lambda_executor.core.reports import JobEnd
from lambda_executor.core.targets import JobTarget, Service
from lambda_executor.engine.dispatcher import Dispatcher
from lambda_executor.engine.job_watch import JobWatch

#: The most launches of one service under way at once: its rate, at a second for each launch.
MOST_THREADS = 50


class Jobs:
    """Launches, watches and stops jobs. Called on the scheduler's thread, and never waits for AWS.

    Args:
        endpoints: Holds the services.
        is_in_flight: Whether an invocation is in flight; called on other threads.
        is_live: Whether an invocation is pending or in flight; called on other threads.
        threads: The most launches of one service under way at once.
        max_attempts: How often an invocation is sent that may have been taken.
        clock: A monotonic clock, in seconds.

    Attributes:
        dispatchers: Send pending invocations, by service.
        watches: Look after the jobs, by service.
    """

    def __init__(  # noqa: PLR0913 - what a dispatcher and a watch need
        self,
        endpoints: Endpoints,
        *,
        is_in_flight: Callable[[InvocationId], bool],
        is_live: Callable[[InvocationId], bool],
        threads: int,
        max_attempts: int,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._clock = clock
        self.watches = {
            service: JobWatch(
                service, launcher, is_in_flight=is_in_flight, is_live=is_live, clock=clock
            )
            for service, launcher in endpoints.jobs.items()
        }
        self.dispatchers = {
            service: Dispatcher(
                endpoints.functions,
                watch.launch,
                api=apis.JOBS[service],
                threads=min(threads, MOST_THREADS),
                max_attempts=max_attempts,
                clock=clock,
            )
            for service, watch in self.watches.items()
        }

    def __bool__(self) -> bool:
        """Whether this executor can start jobs."""
        return bool(self.watches)

    def api(self, id: InvocationId) -> apis.Api | None:
        """Return what a live invocation is sent to if it is a job."""
        services = (service for service, watch in self.watches.items() if watch.target(id))
        return next((apis.JOBS[service] for service in services), None)

    # ---- life ----

    def start(self) -> None:
        """Start the threads."""
        for dispatcher in self.dispatchers.values():
            dispatcher.start()
        for watch in self.watches.values():
            watch.start()

    def drain(self, timeout_s: float) -> int:
        """Launch everything; return how many have no outcome in time."""
        ends_s = self._clock() + timeout_s
        return sum(
            dispatcher.drain(max(0.0, ends_s - self._clock()))
            for dispatcher in self.dispatchers.values()
        )

    def stop_launching(self, timeout_s: float) -> None:
        """End the threads that launch; what is under way gets `timeout_s` seconds."""
        ends_s = self._clock() + timeout_s
        for dispatcher in self.dispatchers.values():
            dispatcher.close(max(0.0, ends_s - self._clock()))

    def close(self, timeout_s: float) -> None:
        """End the threads, and no job; launches and stops under way get `timeout_s` seconds."""
        ends_s = self._clock() + timeout_s
        self.stop_launching(timeout_s)
        for watch in self.watches.values():  # A launch that was revoked meanwhile is stopped.
            watch.close(max(0.0, ends_s - self._clock()))

    # ---- launches ----

    def can_run(self, target: JobTarget) -> bool:
        """Whether this executor can start jobs of the target's service."""
        return target.service in self.watches

    def submit(self, launches: Iterable[tuple[JobTarget, Dispatch]]) -> None:
        """Queue launches, each behind all earlier ones of the same service and priority."""
        by_service: dict[Service, list[Dispatch]] = {}
        for target, dispatch in launches:
            self.watches[target.service].add(dispatch.id, target)
            by_service.setdefault(target.service, []).append(dispatch)
        for service, dispatches in by_service.items():
            self.dispatchers[service].submit(dispatches)

    def pending(self) -> int:
        """Return how many launches have no outcome that was taken."""
        every = self.dispatchers.values()
        return sum(dispatcher.unsettled() + dispatcher.untaken() for dispatcher in every)

    def outcomes(self) -> Iterator[Outcome]:
        """Yield the outcomes since the last call; each stays until the next one is asked for."""
        for dispatcher in self.dispatchers.values():
            yield from dispatcher.outcomes()

    def maybe_taken(self) -> set[InvocationId]:
        """Return the invocations without an outcome that are being launched, or are in doubt."""
        every = self.dispatchers.values()
        return {id for dispatcher in every for id in dispatcher.maybe_taken()}

    def throttles(self) -> int:
        """Return the number of launches throttled since the last call."""
        return sum(dispatcher.throttles() for dispatcher in self.dispatchers.values())

    # ---- jobs ----

    def adopt(self, id: InvocationId, target: JobTarget) -> None:
        """Look after a job that another scheduler has started."""
        if self.can_run(target):
            self.watches[target.service].add(id, target, is_started=True)

    def stop(self, id: InvocationId, reason: str, *, in_s: float = 0.0) -> None:
        """End an invocation's job, if it has one, in so many seconds; `reason` is for people."""
        for watch in self.watches.values():
            watch.stop(id, reason, in_s=in_s)

    def drop(self, ids: Collection[InvocationId]) -> None:
        """Forget invocations that are not live any more."""
        for service, watch in self.watches.items():
            if jobs := [id for id in ids if watch.target(id)]:
                self.dispatchers[service].drop(jobs)
                watch.forget(jobs)

    def ends(self) -> list[JobEnd]:
        """Return the jobs found to have ended without a result, since the last call."""
        return [end for watch in self.watches.values() for end in watch.ends()]
