"""What a launcher remembers of invocations and jobs, within a bound."""

from __future__ import annotations

import threading
from collections import OrderedDict
from typing import Generic, TypeVar

#: How many of them are remembered: more than one scheduler has in flight.
REMEMBERED = 100_000

Value = TypeVar("Value")


class Remembered(Generic[Value]):
    """Values by dispatch id, or by AWS's id of a job.

    The one that was not used for longest is forgotten first. Safe on any thread.

    Args:
        most: How many are remembered.
    """

    def __init__(self, most: int = REMEMBERED) -> None:
        self._most = most
        self._lock = threading.Lock()
        self._values: OrderedDict[str, Value] = OrderedDict()

    def get(self, id: str, default: Value) -> Value:
        """Return the value of an id, or a default."""
        with self._lock:
            if id not in self._values:
                return default
            self._values.move_to_end(id)
            return self._values[id]

    def put(self, id: str, value: Value) -> None:
        """Remember a value, instead of an earlier one."""
        with self._lock:
            self._put(id, value)

    def add(self, id: str, value: Value) -> None:
        """Remember a value, unless there is one."""
        with self._lock:
            self._put(id, self._values.get(id, value))

    def _put(self, id: str, value: Value) -> None:
        self._values[id] = value
        self._values.move_to_end(id)
        if len(self._values) > self._most:
            self._values.popitem(last=False)
