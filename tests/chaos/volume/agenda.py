"""The time of a simulation, and what is to happen when. Nobody waits, so an hour takes seconds."""

from __future__ import annotations

import contextlib
import heapq
import itertools
import logging
import math
import random
from collections.abc import Callable, Iterator
from typing import Any
from unittest import mock

#: The beginning of every simulation, in seconds since the epoch.
BEGIN_S = 1_800_000_000.0


class Agenda:
    """What is to happen, in order of time.

    Attributes:
        now_s: Seconds since the beginning.
        skew_s: How far ahead the clock of the machine is that acts now.
    """

    def __init__(self) -> None:
        self.now_s = 0.0
        self.skew_s = 0.0
        self._numbers = itertools.count()
        self._entries: list[tuple[float, int, Callable[..., None], tuple[Any, ...]]] = []

    def clock(self) -> float:
        """A monotonic clock, in seconds."""
        return self.now_s

    def wall(self) -> float:
        """Seconds since the epoch, on the machine that acts now."""
        return BEGIN_S + self.now_s + self.skew_s

    def after(self, seconds: float, act: Callable[..., None], *args: Any) -> None:
        """Let something happen in so many seconds."""
        heapq.heappush(self._entries, (self.now_s + seconds, next(self._numbers), act, args))

    def drop(self, *owners: object) -> None:
        """Drop what some objects were to do, and what was to be done with them."""
        ids = {id(owner) for owner in owners}
        self._entries = [
            entry
            for entry in self._entries
            if id(getattr(entry[2], "__self__", None)) not in ids
            and ids.isdisjoint(map(id, entry[3]))
        ]
        heapq.heapify(self._entries)

    def next(self, until_s: float = math.inf) -> bool:
        """Let the next thing happen; return whether there was one until then."""
        if not self._entries or self._entries[0][0] > until_s:
            return False
        self.now_s, _, act, args = heapq.heappop(self._entries)
        self.skew_s = 0.0
        act(*args)
        return True

    @contextlib.contextmanager
    def in_force(self, seed: int) -> Iterator[None]:
        """Make this the time of the process, and `seed` that of the engine's own chance.

        Nothing is logged meanwhile: the faults would write hundreds of thousands of lines.
        """
        state, disabled = random.getstate(), logging.root.manager.disable
        random.seed(seed)
        logging.disable(logging.CRITICAL)
        try:
            with mock.patch("time.time", self.wall):
                yield
        finally:
            logging.disable(disabled)
            random.setstate(state)
