"""AWS's request to stop a job or a MicroVM: SIGTERM to the first process of its container.

A MicroVM is mostly asked in another way, by the hook `/terminate` (`micro_vm`).

The signal is blocked and waited for in a thread: the supervisor handles it too, since Airflow 3.3,
and would have the task fail without a retry. A blocked signal is kept until somebody takes it, also
for process 1 of a container, for which the kernel drops a signal that has no handler.
https://man7.org/linux/man-pages/man7/pid_namespaces.7.html
"""

from __future__ import annotations

import math
import os
import signal
import threading
import time
from collections.abc import Callable

#: How long the service waits before it kills the container, in seconds: always with AWS Batch, and
#: by default (`stopTimeout`) with Amazon ECS, also when a Spot instance or Fargate Spot ends. Of a
#: MicroVM the hook `/terminate` has up to 60 s, if its image says so.
#: https://docs.aws.amazon.com/batch/latest/userguide/job_timeouts.html
#: https://docs.aws.amazon.com/AmazonECS/latest/APIReference/API_ContainerDefinition.html
GRACE_S = 30.0

#: What is known of a request to a job.
REASON = (
    "AWS asked this job to stop (SIGTERM): a Spot interruption, TerminateJob, StopTask or the "
    "job's own time-out in AWS. The status reason of the job there says which"
)

#: What is known of a request to a MicroVM.
REASON_OF_MICRO_VM = (
    "AWS asked this MicroVM to stop: TerminateMicrovm was called, by the executor or by a person, "
    "or its maximumDurationInSeconds is over"
)

_SIGNAL = signal.SIGTERM

#: Since when the signal is kept, on the monotonic clock.
_held_at_s = -math.inf


class StopRequest:
    """The request to stop this process, which counts once; a function never gets one.

    Attributes:
        cause: What is known of it, as a reason has it.
    """

    def __init__(
        self, clock_s: Callable[[], float] = time.monotonic, *, cause: str = REASON
    ) -> None:
        self.cause = cause
        self._clock_s = clock_s
        self._lock = threading.Lock()
        self._made_at_s = math.inf

    @property
    def made_at_s(self) -> float:
        """When it came, on the monotonic clock; infinite if it has not."""
        return self._made_at_s

    @property
    def ends_at_s(self) -> float:
        """When the service kills the container, on the monotonic clock."""
        return self._made_at_s + GRACE_S

    @property
    def is_made(self) -> bool:
        """Whether it has come."""
        return self._made_at_s < math.inf

    @property
    def reason_against_start(self) -> str | None:
        """Why nothing is started any more; None if it has not come."""
        return f"not started: {self.cause}" if self.is_made else None

    def make(self, at_s: float | None = None) -> bool:
        """Make it, as of this time or of now; returns whether it is the first one."""
        with self._lock:  # AWS asks a MicroVM by a hook or a signal, each on its own thread.
            if self.is_made:
                return False
            self._made_at_s = self._clock_s() if at_s is None else at_s
            return True


def hold() -> None:
    """Keep the signal from this process until `follow` takes it; its forks get it as ever.

    A program that this process itself executes, such as git for a DAG bundle, does not get it.
    """
    global _held_at_s  # noqa: PLW0603 - a process has one mask
    _held_at_s = time.monotonic()
    signal.pthread_sigmask(signal.SIG_BLOCK, {_SIGNAL})
    os.register_at_fork(after_in_child=_release)


def _release() -> None:
    signal.pthread_sigmask(signal.SIG_UNBLOCK, {_SIGNAL})


def follow(request: StopRequest, then: Callable[[], None]) -> None:
    """Make the request when the signal comes, and then call `then`, on another thread.

    If the signal has come before, the request is made at once, and there is nothing to call. Nobody
    knows when it came: perhaps as soon as it was kept. But half of the time is always left, because
    the container is still there, and nothing can be reported in no time.

    Use this after the last fork: a fork has only the thread that made it.
    """
    if _SIGNAL in signal.sigpending():
        request.make(max(_held_at_s, time.monotonic() - GRACE_S / 2))

    def wait() -> None:
        signal.pthread_sigmask(signal.SIG_BLOCK, signal.valid_signals())  # They are the others'.
        while True:
            signal.sigwait({_SIGNAL})
            if request.make():
                then()

    threading.Thread(target=wait, name="stop-request", daemon=True).start()
