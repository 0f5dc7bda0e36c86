"""The thread that looks after the jobs of one service: it finds those that ended, and stops others.

A job's process sends its own result. One that dies cannot (out of memory, a lost machine), and one
that never starts does not (no such image, no capacity). The service knows of both, so it is asked
for the jobs in flight. A single look proves nothing, because a result may be on its way: a job is
reported as ended after two looks in a row, `PERIOD_S` apart, that found its end and no result.

The same thread stops jobs that Airflow has revoked, or does not wait for any more.
"""

from __future__ import annotations

import logging
import math
import threading
import time
from collections.abc import Callable, Iterable, Mapping
from typing import Any

from lambda_executor.contract.errors import AwsError, InDoubtError, LambdaExecutorError
from lambda_executor.contract.wire import InvocationId
from lambda_executor.core.ports import JobLauncher
from lambda_executor.core.reports import JobEnd
from lambda_executor.core.targets import JobTarget, Service
from lambda_executor.engine.job_stops import JobStops, Stop
from lambda_executor.engine.reconciliation import Comparison

log = logging.getLogger(__name__)

#: Seconds between two looks.
PERIOD_S = 30.0


class JobWatch:
    """A thread that looks after the jobs of one service.

    Args:
        service: The service, for the thread's name and the metrics.
        launcher: Runs the jobs.
        is_in_flight: Whether an invocation is in flight; called on this thread.
        is_live: Whether an invocation is pending or in flight; called on the senders' threads.
        period_s: Seconds between two looks.
        clock: A monotonic clock, in seconds.
    """

    def __init__(  # noqa: PLR0913 - a service, the ledger and time
        self,
        service: Service,
        launcher: JobLauncher,
        *,
        is_in_flight: Callable[[InvocationId], bool],
        is_live: Callable[[InvocationId], bool],
        period_s: float = PERIOD_S,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._service = service
        self._launcher = launcher
        self._is_in_flight = is_in_flight
        self._is_live = is_live
        self._period_s = period_s
        self._clock = clock
        self._targets: dict[InvocationId, JobTarget] = {}
        self._started: set[InvocationId] = set()
        self._comparisons: dict[JobTarget, Comparison] = {}
        self._ends: dict[InvocationId, str] = {}
        self._stops = JobStops(launcher, clock)
        self._look_at_s = -math.inf
        self._changed = threading.Condition()
        self._closed = False
        name = f"lambda-jobs-{service.value}"
        self._thread = threading.Thread(target=self._run, name=name, daemon=True)

    def start(self) -> None:
        """Start the thread."""
        self._look_at_s = self._clock() + self._period_s
        self._thread.start()

    def close(self, timeout_s: float) -> None:
        """End the thread; the stops that are due are tried once more, for `timeout_s` seconds."""
        with self._changed:
            self._closed = True
            self._stops.close()
            self._changed.notify_all()
        if self._thread.is_alive():
            self._thread.join(timeout_s)
        if waiting := len(self._stops):
            log.error("%d jobs could not be stopped before the end, and may run on", waiting)

    # ---- on the scheduler's thread ----

    def add(self, id: InvocationId, target: JobTarget, *, is_started: bool = False) -> None:
        """Watch a job from when it is in flight; another scheduler may have started it."""
        self._targets[id] = target
        if is_started:
            self._started.add(id)

    def target(self, id: InvocationId) -> JobTarget | None:
        """Return the target of a job that is watched."""
        return self._targets.get(id)

    def forget(self, ids: Iterable[InvocationId]) -> None:
        """Watch some jobs no longer."""
        for id in ids:
            self._targets.pop(id, None)
            self._started.discard(id)

    def stop(self, id: InvocationId, reason: str, *, in_s: float = 0.0) -> None:
        """End a job in so many seconds, if it was started, and do not wait for that."""
        if id in self._started:
            self._stop(Stop(self._targets[id], id, reason, self._clock() + in_s))

    def ends(self) -> list[JobEnd]:
        """Return the jobs found to have ended without a result, since the last call.

        One that still is in flight after that is found again.
        """
        with self._changed:
            ends, self._ends = self._ends, {}
        return [JobEnd(id, reason, self._service) for id, reason in ends.items()]

    # ---- on the senders' threads ----

    def launch(
        self, target: JobTarget, id: InvocationId, event: bytes, overrides: Mapping[str, Any]
    ) -> None:
        """Start a job; stop it again if it was revoked meanwhile. See `JobLauncher.launch`."""
        try:
            self._launcher.launch(target, id, event, overrides)
        except Exception as error:
            # After an error that nobody expects it may run, too.
            if isinstance(error, InDoubtError) or not isinstance(error, LambdaExecutorError):
                self._may_run(target, id)
            raise
        self._may_run(target, id)

    def _may_run(self, target: JobTarget, id: InvocationId) -> None:
        self._started.add(id)
        if not self._is_live(id):
            # Its revocation could not stop it, because it was not there yet.
            self._started.discard(id)
            reason = "its task was revoked while it was started"
            self._stop(Stop(target, id, reason, self._clock()))

    def _stop(self, stop: Stop) -> None:
        with self._changed:
            self._stops.add(stop)
            self._changed.notify_all()

    # ---- on its own thread ----

    def look(self) -> None:
        """Ask the service once which of the jobs in flight have ended, for each target."""
        by_target: dict[JobTarget, list[InvocationId]] = {}
        for id, target in list(self._targets.items()):  # A copy is atomic under the GIL.
            if self._is_in_flight(id):
                by_target.setdefault(target, []).append(id)
        self._comparisons = {
            target: self._comparisons.get(target, Comparison()) for target in by_target
        }
        for target, ids in by_target.items():
            try:
                reasons = self._launcher.ended(target, ids)
            except AwsError as error:
                log.warning("Could not ask for the jobs of %s: %s", target, error)
                continue
            except Exception:
                # A bug must not leave the other targets without a watch.
                log.exception("Could not ask for the jobs of %s", target)
                continue
            ended = self._comparisons[target].check(reasons, set())
            with self._changed:
                self._ends.update({id: reasons[id] for id in sorted(ended)})

    def make_stop(self) -> None:
        """Make the next stop."""
        self._stops.make_next()

    def _run(self) -> None:
        while (due := self._next()) is not None:
            try:
                due()
            except Exception:
                # A bug must not end the watch.
                log.exception("Could not look after jobs")

    def _next(self) -> Callable[[], None] | None:
        """Wait until there is something to do, and return it; None: the thread is to end."""
        with self._changed:
            while True:
                now_s = self._clock()
                if self._closed:
                    return self.make_stop if self._stops else None
                if now_s >= self._stops.next_s():
                    return self.make_stop
                if now_s >= self._look_at_s:
                    self._look_at_s = now_s + self._period_s
                    return self.look
                self._changed.wait(min(self._look_at_s, self._stops.next_s()) - now_s)
