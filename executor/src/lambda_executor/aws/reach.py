"""Whether AWS is reached by awscrt, or has to be reached by boto3 instead."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable

#: boto3 is asked while awscrt reaches nothing. After so many calls that boto3 could make in between
#: the network is not the reason, so boto3 makes all.
MOST_RESCUES = 3
#: Seconds for which it does; then awscrt is tried again.
PAUSE_S = 300.0


class Reach:
    """Counts the calls that awscrt could not make and boto3 could.

    An outage ends many calls, some of them long after the others. It counts once: a call that was
    begun before boto3 last got through says nothing about the time after it.

    Args:
        clock: The time, in seconds.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._lock = threading.Lock()
        self._attempt = 0
        self._is_cut_off = False
        self._rescues = 0
        self._paused_until_s = -float("inf")

    def attempt(self) -> int | None:
        """Return the number of an attempt by awscrt; None: boto3 has to make the call."""
        if self._is_cut_off or self._clock() < self._paused_until_s:
            return None
        return self._attempt

    def answered(self) -> None:
        """Record that awscrt brought an answer."""
        if self._rescues:
            with self._lock:
                self._rescues = 0

    def not_sent(self, attempt: int) -> None:
        """Record that awscrt did not get through, at an attempt with this number."""
        with self._lock:
            if attempt == self._attempt:
                self._is_cut_off = True

    def rescued(self, *, succeeded: bool) -> bool:
        """Record that boto3 has made a call in place of awscrt.

        Return whether boto3 makes all calls from now on, for `PAUSE_S` seconds.
        """
        with self._lock:
            if not self._is_cut_off:
                return False
            self._is_cut_off = False
            self._attempt += 1
            self._rescues += succeeded
            if not succeeded or self._rescues < MOST_RESCUES:
                return False
            self._paused_until_s = self._clock() + PAUSE_S
            return True
