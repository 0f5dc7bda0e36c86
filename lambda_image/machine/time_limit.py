"""Bounds how long this process waits for an API, a queue or a disk.

Interrupts libraries by a `BaseException`, which their retries do not catch.
"""

from __future__ import annotations

import math
import signal
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from types import FrameType

#: Interrupted code may wait again while it cleans up, so it is interrupted again.
_REPEAT_S = 0.2

#: When the running body is interrupted; None while there is none.
_at: Callable[[], float] | None = None
_lock = threading.Lock()


class OutOfTime(BaseException):
    """The time is over."""


@contextmanager
def until(at_s: float | Callable[[], float]) -> Iterator[None]:
    """Interrupt the body at a time of the monotonic clock; never, if it is infinite.

    Works in the main thread only, in which Lambda's runtime calls the handler. A call of an
    extension module that lets Python handle no signals is not interrupted.

    Args:
        at_s: The time, or a function that tells it, which may change: see `renew`.

    Raises:
        OutOfTime: The body was interrupted.
    """
    previous = signal.signal(signal.SIGALRM, _interrupt)
    try:
        _set(at_s if callable(at_s) else partial(float, at_s))
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        _set(None)
        signal.signal(signal.SIGALRM, previous)


def renew() -> None:
    """Ask anew when the running body is to be interrupted, if there is one; on any thread."""
    with _lock:
        _arm()


def _set(at: Callable[[], float] | None) -> None:
    global _at  # noqa: PLW0603 - a process has one timer
    with _lock:
        _at = at
        _arm()


def _arm() -> None:
    at_s = math.inf if _at is None else _at()
    if at_s == math.inf:
        signal.setitimer(signal.ITIMER_REAL, 0)
    else:
        left_s = max(0.001, at_s - time.monotonic())
        signal.setitimer(signal.ITIMER_REAL, left_s, _REPEAT_S)


def _interrupt(_number: int, _frame: FrameType | None) -> None:
    raise OutOfTime
