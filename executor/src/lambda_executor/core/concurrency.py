"""How many calls to keep under way, given their latency and whether Lambda throttles them.

By Little's law, calls under way = rate x latency. More calls than that would only wait for a
processor, and make the scheduler's thread wait too. So the rate is controlled, as TCP controls its
window: every answer adds to it, every throttle halves it.
"""

from __future__ import annotations

import math
from collections import deque

#: Target rate in calls per second: more than one scheduler's process can make, so that its
#: processor is the limit. Throttling shows Lambda's own limit.
MOST_PER_S = 1500.0
#: Halving ends here; the pauses after a throttle slow down further (`DispatchQueue`).
LEAST_PER_S = 10.0
#: Added to the rate by one answer after a throttle: at 100 calls per second, 10 more each second.
PER_ANSWER_PER_S = 0.1
#: The fastest of this many answers is the latency. The others also waited for a connection or a
#: processor.
WINDOW = 64
#: Assumed latency before the first answer.
FIRST_S = 0.03


class Concurrency:
    """The number of calls to keep under way, at most `most`."""

    def __init__(self, most: int) -> None:
        self._most = most
        self._per_s = MOST_PER_S
        self._latencies_s: deque[float] = deque(maxlen=WINDOW)
        self.limit = self._limit()

    def answered(self, latency_s: float) -> None:
        """Record the latency of an answered call."""
        self._latencies_s.append(latency_s)
        self._per_s = min(MOST_PER_S, self._per_s + PER_ANSWER_PER_S)
        self.limit = self._limit()

    def throttled(self) -> None:
        """Record that the service throttled a call."""
        self._per_s = max(LEAST_PER_S, self._per_s / 2)
        self.limit = self._limit()

    def _limit(self) -> int:
        latency_s = min(self._latencies_s, default=FIRST_S)
        return max(1, min(self._most, math.ceil(self._per_s * latency_s)))
