"""The time to wait before the next try: exponential, with full jitter.

https://aws.amazon.com/blogs/architecture/exponential-backoff-and-jitter/
"""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import dataclass

Uniform = Callable[[float, float], float]


@dataclass(frozen=True, slots=True)
class Backoff:
    """An exponential wait with jitter."""

    base_s: float  # Upper bound of the first wait.
    cap_s: float  # Upper bound of every wait.
    floor: float = 0.0  # Smallest wait as a share of its upper bound, 0 to 1.

    def delay_s(self, attempt: int, uniform: Uniform = random.uniform) -> float:
        """Return the seconds to wait after the `attempt`-th failure in a row (the first is 1)."""
        bound = min(self.cap_s, self.base_s * 2.0 ** min(attempt - 1, 60))
        return uniform(bound * self.floor, bound)
