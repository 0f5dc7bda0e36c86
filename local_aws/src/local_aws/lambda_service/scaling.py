"""The rate at which a function may add execution environments: one token bucket per function.

Follows https://docs.aws.amazon.com/lambda/latest/dg/scaling-behavior.html.
"""

from __future__ import annotations

import time
from collections.abc import Callable

from local_aws.lambda_service.model import FunctionKey

#: Seconds until an empty bucket is full.
PERIOD_S = 10.0


class ScalingRate:
    """The buckets of all functions, each of `per_period` environments; not thread-safe."""

    def __init__(self, per_period: int, now_s: Callable[[], float] = time.monotonic) -> None:
        self._per_period = per_period
        self._now_s = now_s
        self._buckets: dict[FunctionKey, tuple[float, float]] = {}

    def take(self, function: FunctionKey) -> bool:
        """Take one token out of the function's bucket; False: the bucket is empty."""
        now_s = self._now_s()
        left, at_s = self._buckets.get(function, (float(self._per_period), now_s))
        left = min(self._per_period, left + (now_s - at_s) * self._per_period / PERIOD_S)
        taken = left >= 1
        self._buckets[function] = (left - 1 if taken else left, now_s)
        return taken
