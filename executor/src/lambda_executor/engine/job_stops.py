"""The jobs of one service that are to be stopped, and what becomes of each stop.

A job costs money for as long as it runs. So a stop that fails for now is tried a few times, and one
that is given up is an error in the log. Others may add stops while one thread makes them.
"""

from __future__ import annotations

import logging
import math
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, replace

from lambda_executor.contract.errors import AwsError, CredentialsError, TransientError
from lambda_executor.contract.log_lines import about
from lambda_executor.contract.wire import InvocationId
from lambda_executor.core.backoff import Backoff
from lambda_executor.core.ports import JobLauncher
from lambda_executor.core.targets import JobTarget

log = logging.getLogger(__name__)

#: How often a job is tried to be stopped, and the delay of all stops after a failed one.
MOST_TRIES = 5
RETRY = Backoff(base_s=1, cap_s=30, floor=0.5)
#: The most stops that wait. More would be there only after the service was away for long.
MOST_STOPS = 10_000


@dataclass(frozen=True, slots=True)
class Stop:
    """A job to stop; `reason` is for people, and `tries` have failed."""

    target: JobTarget
    id: InvocationId
    reason: str
    tries: int = 0


class JobStops:
    """The stops that wait, in order.

    Args:
        launcher: Stops the jobs.
        clock: A monotonic clock, in seconds.
    """

    def __init__(self, launcher: JobLauncher, clock: Callable[[], float]) -> None:
        self._launcher = launcher
        self._clock = clock
        self._waiting: deque[Stop] = deque()
        self._failures_in_a_row = 0
        self._paused_until_s = -math.inf

    def __len__(self) -> int:
        return len(self._waiting)

    def add(self, stop: Stop) -> None:
        """Add one; if too many wait, it is given up."""
        if len(self._waiting) < MOST_STOPS:
            self._waiting.append(stop)
        else:
            _give_up(stop, f"{MOST_STOPS} others wait to be stopped")

    def due_s(self) -> float:
        """Return when the next one may be made; infinite if none waits."""
        return self._paused_until_s if self._waiting else math.inf

    def make_next(self, *, is_last_try: bool = False) -> None:
        """Stop the job that has waited longest; if that fails for now, it waits behind the others.

        Args:
            is_last_try: Whether to give it up if it fails.
        """
        stop = self._waiting.popleft()
        try:
            self._launcher.stop(stop.target, stop.id, stop.reason)
        except (TransientError, CredentialsError) as error:
            self._failures_in_a_row += 1
            self._paused_until_s = self._clock() + RETRY.delay_s(self._failures_in_a_row)
            failed = replace(stop, tries=stop.tries + 1)
            if is_last_try or failed.tries == MOST_TRIES:
                _give_up(stop, str(error))
            else:
                log.warning("Could not stop %s yet: %s", stop.id, error, extra=about(stop.id))
                self._waiting.append(failed)
        except AwsError as error:
            _give_up(stop, str(error))
        else:
            self._failures_in_a_row = 0
            extra = about(stop.id)
            log.info("Stopped %s (%s): %s", stop.id, stop.target, stop.reason, extra=extra)


def _give_up(stop: Stop, why: str) -> None:
    log.error(
        "%s (%s) was not stopped (%s) and may run on, which costs money: %s",
        stop.id,
        stop.target,
        stop.reason,
        why,
        extra=about(stop.id),
    )
