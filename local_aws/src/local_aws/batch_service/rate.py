"""A rate that must not be exceeded: a token bucket."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable


class Rate:
    """A bucket of `per_second` tokens, which refills in one second; thread-safe."""

    def __init__(self, per_second: int, now_s: Callable[[], float] = time.monotonic) -> None:
        self._per_second = per_second
        self._now_s = now_s
        self._lock = threading.Lock()
        self._left, self._at_s = float(per_second), now_s()

    def take(self) -> bool:
        """Take one token; False: the bucket is empty."""
        with self._lock:
            now_s = self._now_s()
            refilled = self._left + (now_s - self._at_s) * self._per_second
            self._left, self._at_s = min(self._per_second, refilled), now_s
            if self._left < 1:
                return False
            self._left -= 1
            return True
