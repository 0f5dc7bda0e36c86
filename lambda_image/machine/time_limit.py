"""Bounds how long this process waits for somebody else: for an API, a queue, a disk.

Retries of other people's libraries end when they see fit; this ends them, by an exception that no
`except Exception` on their way takes for an error to repeat.
"""

from __future__ import annotations

import signal
import time
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

#: What has been interrupted may begin to wait again, on its way out.
_REPEAT_S = 0.2


class OutOfTime(BaseException):
    """It took too long."""


@contextmanager
def until(at_s: float) -> Iterator[None]:
    """Interrupt the body at a time of the monotonic clock.

    Only in the main thread, in which Lambda's runtime calls the handler. A call that neither
    returns nor lets Python handle signals is not interrupted.

    Raises:
        OutOfTime: It was interrupted.
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
