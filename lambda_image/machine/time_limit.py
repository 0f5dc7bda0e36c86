"""Bounds how long this process waits for an API, a queue or a disk.

Interrupts libraries by a `BaseException`, which their retries do not catch.
"""

from __future__ import annotations

import signal
import time
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

#: Interrupted code may wait again while it cleans up, so it is interrupted again.
_REPEAT_S = 0.2


class OutOfTime(BaseException):
    """The time is over."""


@contextmanager
def until(at_s: float) -> Iterator[None]:
    """Interrupt the body at a time of the monotonic clock.

    Works in the main thread only, in which Lambda's runtime calls the handler. A call of an
    extension module that lets Python handle no signals is not interrupted.

    Raises:
        OutOfTime: The body was interrupted.
    """
    previous = signal.signal(signal.SIGALRM, _interrupt)
    try:
        signal.setitimer(signal.ITIMER_REAL, max(0.001, at_s - time.monotonic()), _REPEAT_S)
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, previous)


def _interrupt(_number: int, _frame: FrameType | None) -> None:
    raise OutOfTime
