"""How far our clock is ahead of a server's, from what the server's answers say of the time."""

from __future__ import annotations

import threading
from collections import deque

#: The last answers that count, so that a clock that is set, or drifts, is noticed.
ANSWERS = 32
#: Seconds. An answer says the time in whole seconds, without the rest: RFC 9110, section 5.6.7.
RESOLUTION_S = 1.0


class ServerClock:
    """Tells by our clock when something happened by a server's. Safe on any thread.

    A server writes the time into its answer between our question and the moment when we have the
    answer. So each answer says between which two values our clock is ahead, and how long anything
    took can not be mistaken for a difference of the clocks. While equal clocks explain all of the
    last answers, the clocks are taken to be equal.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        #: The least and the most seconds for which our clock can be ahead, by each answer.
        self._bounds_s: deque[tuple[float, float]] = deque(maxlen=ANSWERS)
        self._ahead_s = 0.0

    def heard(self, asked_s: float, date_s: float, answered_s: float) -> None:
        """Take in one answer. All times are in seconds since the epoch.

        Args:
            asked_s: When we asked, by our clock.
            date_s: The server's time in its answer.
            answered_s: When we had the answer, by our clock.
        """
        bounds_s = (asked_s - date_s - RESOLUTION_S, answered_s - date_s)
        with self._lock:
            self._bounds_s.append(bounds_s)
            self._ahead_s = self._estimate_s()

    def ours(self, at_s: float) -> float:
        """Return by our clock what is a time by the server's, both in seconds since the epoch."""
        return at_s + self._ahead_s

    def _estimate_s(self) -> float:
        while self._bounds_s:
            least_s = max(least for least, _ in self._bounds_s)
            most_s = min(most for _, most in self._bounds_s)
            if least_s <= most_s:
                # How early the answer to a long poll was written is open, but not how late. So the
                # upper bound is the close one: it is off by the way back of the fastest answer.
                return 0.0 if least_s <= 0 <= most_s else most_s
            self._bounds_s.popleft()  # A clock was set, or has drifted, since then.
        return 0.0
