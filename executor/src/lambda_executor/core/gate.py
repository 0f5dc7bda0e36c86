"""The gate through which all sends pass; it closes while none can succeed. No threads, no clock."""

from __future__ import annotations

import math

from lambda_executor.core.backoff import Backoff, Uniform


class Gate:
    """Closed for a while after a failure that the next send would share.

    Args:
        uniform: Draws the jitter.

    Attributes:
        reason: Why it closed last; empty after a success.
    """

    def __init__(self, uniform: Uniform) -> None:
        self._uniform = uniform
        self._closed_s = self._opens_s = -math.inf
        self._in_a_row = 0
        self.reason = ""

    @property
    def is_tried(self) -> bool:
        """Whether nothing has succeeded since it closed: one send at a time finds out."""
        return self._in_a_row > 0

    def wait_s(self, now_s: float) -> float:
        """Return the seconds until it opens; 0: it is open."""
        return max(0.0, self._opens_s - now_s)

    def succeeded(self) -> None:
        """End a series of failures."""
        self._in_a_row, self.reason = 0, ""

    def close(self, reason: str, backoff: Backoff, began_s: float, now_s: float) -> float | None:
        """Close it, longer each time; return for how many seconds.

        None: the send began before the gate closed last. When sends that were under way together
        all fail, that is one failure.
        """
        self.reason = reason
        if began_s <= self._closed_s or now_s < self._opens_s:
            return None
        self._in_a_row += 1
        delay_s = backoff.delay_s(self._in_a_row, self._uniform)
        self._closed_s, self._opens_s = now_s, now_s + delay_s
        return delay_s
