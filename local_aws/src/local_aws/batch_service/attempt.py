"""One attempt of a job: it ends by itself, by its time-out, or because somebody stops it."""

from __future__ import annotations

import threading
from dataclasses import dataclass
from typing import Protocol

#: From SIGTERM to SIGKILL, https://docs.aws.amazon.com/batch/latest/userguide/job_timeouts.html.
STOP_GRACE_S = 30.0
#: ECS's words, which Batch passes on:
#: https://docs.aws.amazon.com/AmazonECS/latest/developerguide/stopped-task-error-codes.html
EXITED = "Essential container in task exited"
OUT_OF_MEMORY = "OutOfMemoryError: Container killed due to memory usage"


class Container(Protocol):
    """What an attempt needs of its container."""

    @property
    def exit_code(self) -> int:
        """How it ended."""

    @property
    def out_of_memory(self) -> bool:
        """Whether it was killed because of its memory."""

    def wait(self, timeout_s: float | None) -> bool:
        """Wait for its end; whether it has ended."""

    def stop(self, grace_s: float) -> None:
        """Ask it to end, kill it after the grace, and wait for its end."""


@dataclass(frozen=True, slots=True)
class Stop:
    """Why an attempt is stopped.

    Attributes:
        retried: Whether the job may be tried again.
        with_host: Whether the container's exit code is lost with its host.
    """

    status_reason: str
    retried: bool = False
    with_host: bool = False


#: A job whose time is over is not retried:
#: https://docs.aws.amazon.com/batch/latest/userguide/job_timeouts.html
TIMED_OUT = Stop("Job attempt duration exceeded timeout")


@dataclass(frozen=True, slots=True)
class Ended:
    """How an attempt ended.

    Attributes:
        status_reason: The job's reason.
        exit_code: The container's; None: it has not started, or was lost with its host.
        reason: The container's reason.
        final: Whether the job is not tried again, whatever its retry strategy.
    """

    status_reason: str
    exit_code: int | None = None
    reason: str | None = None
    succeeded: bool = False
    final: bool = False


class Attempt:
    """Follows the container of an attempt; `stop` may come at any time."""

    def __init__(self, grace_s: float = STOP_GRACE_S) -> None:
        self._grace_s = grace_s
        self._lock = threading.Lock()
        self._stop: Stop | None = None
        self._container: Container | None = None

    def stop(self, stop: Stop) -> None:
        """End it, without waiting; of several reasons the first counts."""
        with self._lock:
            if self._stop is None:
                self._stop = stop
                self._ask_to_end()

    def follow(self, container: Container, timeout_s: float | None) -> Ended:
        """Wait for the end of its container."""
        with self._lock:
            self._container = container
            if self._stop is not None:
                self._ask_to_end()
        if not container.wait(timeout_s):
            self.stop(TIMED_OUT)
            container.wait(None)
        with self._lock:
            stop = self._stop
        if stop is not None:
            exit_code = None if stop.with_host else container.exit_code
            return Ended(stop.status_reason, exit_code, final=not stop.retried)
        reason = OUT_OF_MEMORY if container.out_of_memory else None
        return Ended(EXITED, container.exit_code, reason, succeeded=container.exit_code == 0)

    def _ask_to_end(self) -> None:
        if self._container is not None:
            arguments = [self._grace_s]
            threading.Thread(target=self._container.stop, args=arguments, daemon=True).start()
