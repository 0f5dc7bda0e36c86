"""Waiting in tests for what other processes do."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TypeVar

T = TypeVar("T")


def until(probe: Callable[[], T | None], what: str, timeout_s: float) -> T:
    """Ask a few times each second until there is an answer."""
    deadline_s = time.monotonic() + timeout_s
    while (answer := probe()) is None:
        assert time.monotonic() < deadline_s, f"not within {timeout_s:.0f} s: {what}"
        time.sleep(0.2)
    return answer
