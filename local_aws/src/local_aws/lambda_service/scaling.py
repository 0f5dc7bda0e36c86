"""How fast a function may grow: new execution environments, as a bucket that refills.

Follows https://docs.aws.amazon.com/lambda/latest/dg/scaling-behavior.html: every function has its
own, it refills all the time, and what is not used is not saved beyond one full bucket. It must
not know what an environment is.
"""

from __future__ import annotations

import time
from collections.abc import Callable

from local_aws.lambda_service.model import FunctionKey

#: Seconds in which an empty bucket fills.
PERIOD_S = 10.0


class ScalingRate:
    """The buckets of all functions. Not safe to use from several threads at once.

    Args:
        per_period: How many environments a function may add in `PERIOD_S`.
        now_s: Tells the time.
    """

    def __init__(self, per_period: int, now_s: Callable[[], float] = time.monotonic) -> None:
        self._per_period = per_period
        self._now_s = now_s
        self._buckets: dict[FunctionKey, tuple[float, float]] = {}

    def take(self, function: FunctionKey) -> bool:
        """Take one environment out of the function's bucket; False: it is empty."""
        now_s = self._now_s()
        left, at_s = self._buckets.get(function, (float(self._per_period), now_s))
        left = min(self._per_period, left + (now_s - at_s) * self._per_period / PERIOD_S)
        taken = left >= 1
        self._buckets[function] = (left - 1 if taken else left, now_s)
        return taken
