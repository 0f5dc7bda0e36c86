"""The jobs of one service that are to be stopped, and what becomes of each stop.

A job costs money for as long as it runs. So a stop that fails for now is tried again, and one that
is given up is an error in the log. A service may show a job only some time after it was started, so
one that is not found is looked for again. Others may add stops while one thread makes them.
"""

from __future__ import annotations

import heapq
import itertools
import logging
import math
import threading
from collections.abc import Callable
from dataclasses import dataclass, replace

from lambda_executor.contract.errors import (
    AwsError,
    CredentialsError,
    ThrottledError,
    TransientError,
)
from lambda_executor.contract.log_lines import about
from lambda_executor.contract.wire import InvocationId
from lambda_executor.core.backoff import Backoff
from lambda_executor.core.ports import JobLauncher
from lambda_executor.core.targets import JobTarget, Service

log = logging.getLogger(__name__)

#: The delay of all stops after a failed one.
RETRY = Backoff(base_s=1, cap_s=30, floor=0.5)
#: Seconds after which a stop that still fails is given up, unless the service only throttles.
GIVE_UP_S = 600.0
#: Seconds until a job that was not found is looked for again, each time.
LOOK_AGAIN_S = (30.0, 300.0)
#: The most stops that wait. More would be there only after the service was away for long.
MOST_STOPS = 10_000

#: What else there may be. Nothing but its id finds a MicroVM, and that may not have been stored.
_NOT_STORED = (
    ", or its id is not known, and it may run until its maximumDurationInSeconds, which costs money"
)


@dataclass(frozen=True, slots=True)
class Stop:
    """A job to stop.

    Attributes:
        target: Where it was started.
        id: Its invocation.
        reason: Why, for people.
        due_s: When it may be stopped.
        looks: How often it was not found.
    """

    target: JobTarget
    id: InvocationId
    reason: str
    due_s: float
    looks: int = 0


class JobStops:
    """The stops that wait; those that are due first are made first.

    Args:
        launcher: Stops the jobs.
        clock: A monotonic clock, in seconds.
    """

    def __init__(self, launcher: JobLauncher, clock: Callable[[], float]) -> None:
        self._launcher = launcher
        self._clock = clock
        self._lock = threading.Lock()
        self._order = itertools.count()
        self._waiting: list[tuple[float, int, Stop]] = []
        self._failures_in_a_row = 0
        self._paused_until_s = -math.inf
        self._is_closed = False

    def __len__(self) -> int:
        return len(self._waiting)

    def add(self, stop: Stop) -> None:
        """Add one; if too many wait, it is given up."""
        if len(self._waiting) < MOST_STOPS:
            self._wait(stop, stop.due_s)
        else:
            _give_up(stop, f"{MOST_STOPS} others wait to be stopped")

    def next_s(self) -> float:
        """Return when the next one may be made; infinite if none waits."""
        return max(self._paused_until_s, self._waiting[0][0]) if self._waiting else math.inf

    def close(self) -> None:
        """Drop what has not been due yet; each of the others is tried once more."""
        self._is_closed = True
        now_s = self._clock()
        with self._lock:
            kept = [(s, n, stop) for s, n, stop in self._waiting if stop.looks or s <= now_s]
            heapq.heapify(kept)
            self._waiting = kept

    def make_next(self) -> None:
        """Stop the next job; if that fails for now, it waits behind the others."""
        with self._lock:
            _, _, stop = heapq.heappop(self._waiting)
        try:
            is_found = self._launcher.stop(stop.target, stop.id, stop.reason)
        except (TransientError, CredentialsError) as error:
            self._failed(stop, error)
        except AwsError as error:
            _give_up(stop, str(error))
        except Exception as error:
            _give_up(stop, repr(error))
            raise
        else:
            self._failures_in_a_row = 0
            if is_found:
                extra = about(stop.id)
                log.info("Stopped %s (%s): %s", stop.id, stop.target, stop.reason, extra=extra)
            else:
                self._not_found(stop)

    def _failed(self, stop: Stop, error: AwsError) -> None:
        now_s = self._clock()
        self._failures_in_a_row += 1
        self._paused_until_s = now_s + RETRY.delay_s(self._failures_in_a_row)
        is_late = now_s - stop.due_s >= GIVE_UP_S and not isinstance(error, ThrottledError)
        if self._is_closed or is_late:
            _give_up(stop, str(error))
        else:
            log.warning("Could not stop %s yet: %s", stop.id, error, extra=about(stop.id))
            self._wait(stop, now_s)

    def _not_found(self, stop: Stop) -> None:
        if self._is_closed or stop.looks == len(LOOK_AGAIN_S):
            log.warning(
                "Found no job of %s (%s) to stop (%s): it was not started, or ended long ago%s",
                stop.id,
                stop.target,
                stop.reason,
                _NOT_STORED if stop.target.service is Service.MICROVM else "",
                extra=about(stop.id),
            )
            return
        due_s = self._clock() + LOOK_AGAIN_S[stop.looks]
        self._wait(replace(stop, due_s=due_s, looks=stop.looks + 1), due_s)

    def _wait(self, stop: Stop, until_s: float) -> None:
        with self._lock:
            heapq.heappush(self._waiting, (until_s, next(self._order), stop))


def _give_up(stop: Stop, why: str) -> None:
    log.error(
        "%s (%s) was not stopped (%s) and may run on, which costs money: %s",
        stop.id,
        stop.target,
        stop.reason,
        why,
        extra=about(stop.id),
    )
