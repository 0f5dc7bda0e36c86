"""Numbers of JSON, of which Python reads more than others write."""

from __future__ import annotations

import math


def finite(value: object) -> int | float | None:
    """Return a number that can be counted with; None: it is none.

    Python's JSON has NaN and infinity, and integers that are too large for a float.
    """
    if not isinstance(value, int | float) or isinstance(value, bool):
        return None
    try:
        return value if math.isfinite(value) else None
    except OverflowError:
        return None
