"""How many calls to keep under way: pure, from how long they take and whether they are throttled.

By Little's law, calls under way = rate x latency: the same rate needs ten times the calls at
200 ms that it needs at 20 ms, and more calls than that would only make each of them wait for a
processor, the scheduler's thread included. So the rate is what is steered, as TCP steers its
window: added to by every answer, halved by every throttle.
"""

from __future__ import annotations

import math
from collections import deque

#: Calls a second that are aimed at. More than one scheduler's process can make, so that its
#: processor is the limit and not this; Lambda's own limit shows itself by throttling.
MOST_PER_S = 1500.0
#: Where halving ends: the pauses after a throttle slow down further (`DispatchQueue`).
LEAST_PER_S = 10.0
#: What one answer adds after a throttle: at 100 calls a second, 10 more each second.
PER_ANSWER_PER_S = 0.1
#: Answers whose fastest is the latency. The others also waited, for a connection or a processor.
WINDOW = 64
#: The latency before the first answer.
FIRST_S = 0.03


class Concurrency:
    """The number of calls to keep under way.

    Args:
        most: Never more than these.
    """

    def __init__(self, most: int) -> None:
        self._most = most
        self._per_s = MOST_PER_S
        self._latencies_s: deque[float] = deque(maxlen=WINDOW)
        self.limit = self._limit()

    def answered(self, latency_s: float) -> None:
        """Note that a call was answered, and after how long."""
        self._latencies_s.append(latency_s)
        self._per_s = min(MOST_PER_S, self._per_s + PER_ANSWER_PER_S)
        self.limit = self._limit()

    def throttled(self) -> None:
        """Note that the service asks for less."""
        self._per_s = max(LEAST_PER_S, self._per_s / 2)
        self.limit = self._limit()

    def _limit(self) -> int:
        latency_s = min(self._latencies_s, default=FIRST_S)
        return max(1, min(self._most, math.ceil(self._per_s * latency_s)))
