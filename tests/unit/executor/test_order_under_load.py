"""A simulated function under load: what is urgent starts soon, and no throughput is lost for it.

Time is simulated, so the figures are the same on every machine. `make bench` has the real ones.
"""

from __future__ import annotations

import heapq
import itertools
import math
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial

import pytest

from lambda_executor.contract.wire import InvocationId
from lambda_executor.core.backlog import Waiting
from lambda_executor.core.dispatch import Dispatch, Envelope
from lambda_executor.core.dispatch_queue import DispatchQueue
from lambda_executor.core.places import Limit
from lambda_executor.core.targets import FunctionTarget

URGENT = InvocationId("urgent")
ENVELOPE = Envelope(FunctionTarget("f"), b"")


@dataclass
class Load:
    """A scheduler with a backlog of tasks, and a function with a few places.

    Attributes:
        places: What the function may run at once.
        task_s: What a task takes.
        way_s: From the dispatch queue to Lambda's, and from the end of a task to its result here.
        loop_s: What a loop of the scheduler takes.
        is_limited: Whether the executor knows the places.
        ended: How many tasks have ended.
        ended_before: How many of them in the first half, in which the executor learns.
        urgent_waited_s: How long the urgent task waited for its start.
    """

    places: int
    task_s: float
    way_s: float
    loop_s: float
    is_limited: bool
    now_s: float = 0
    ended: int = 0
    ended_before: int = 0
    urgent_waited_s: float = math.inf
    _agenda: list[tuple[float, int, Callable[[], None]]] = field(default_factory=list)
    _numbers: itertools.count[int] = field(default_factory=itertools.count)
    _events: deque[InvocationId] = field(default_factory=deque)
    _running: int = 0
    _slots: int = 0
    _taken_in: int = 0
    _urgent_since_s: float = math.inf
    _is_urgent_scheduled: bool = False
    _is_alarm_set: bool = False

    def run(self, seconds: float) -> None:
        """Let so many seconds pass; the urgent task joins in the middle."""
        self._queue = DispatchQueue(1, most_under_way=256, uniform=max)
        if self.is_limited:
            self._queue.limit({"f": Limit("f", self.places)})
        self._in(0, self._loop)
        self._in(seconds / 2, self._join)
        while self._agenda and self._agenda[0][0] <= seconds:
            self.now_s, _, act = heapq.heappop(self._agenda)
            act()

    def _in(self, seconds: float, act: Callable[[], None]) -> None:
        heapq.heappush(self._agenda, (self.now_s + seconds, next(self._numbers), act))

    def _join(self) -> None:
        self._is_urgent_scheduled = True
        self.ended_before = self.ended
        self._urgent_since_s = self.now_s

    def _loop(self) -> None:
        """One loop of the scheduler: take in what ended, and queue what has slots."""
        self._slots, self._taken_in = self._slots - (self.ended - self._taken_in), self.ended
        room = self._queue.room(self.now_s)
        slots = 4 * self.places - self._slots
        for _ in range(min(slots, sum(room.values())) if room else slots):
            self._slots += 1
            id, priority = InvocationId(str(next(self._numbers))), 0
            if self._is_urgent_scheduled:
                id, priority, self._is_urgent_scheduled = URGENT, 1, False
            dispatch = Dispatch(id, lambda: ENVELOPE, target_name="f", priority=priority)
            self._queue.push(dispatch, self.now_s)
        self._send()
        self._in(self.loop_s, self._loop)

    def _send(self) -> None:
        while waiting := self._queue.pop(self.now_s):
            self._in(self.way_s / 2, partial(self._take, waiting))
        if (wait_s := self._queue.wait_s(self.now_s)) and not self._is_alarm_set:
            self._is_alarm_set = True
            self._in(wait_s, self._wake)

    def _wake(self) -> None:
        self._is_alarm_set = False
        self._send()

    def _take(self, sent: Waiting) -> None:
        self._queue.succeeded(sent, self.now_s)
        self._events.append(sent.dispatch.id)
        self._start()
        self._send()

    def _start(self) -> None:
        while self._events and self._running < self.places:
            id = self._events.popleft()
            if id == URGENT:
                self.urgent_waited_s = self.now_s - self._urgent_since_s
            self._running += 1
            self._in(self.task_s, partial(self._finish, id))

    def _finish(self, id: InvocationId) -> None:
        self._running -= 1
        self._in(self.way_s / 2, partial(self._receive, id))
        self._start()

    def _receive(self, id: InvocationId) -> None:
        self.ended += 1
        self._queue.ended(id, self.now_s, self.way_s / 2)
        self._send()


def both(places: int, task_s: float, way_s: float, seconds: float) -> tuple[Load, Load]:
    """The same load with the limit and without it, after so many seconds."""
    limited, unlimited = (
        Load(places, task_s, way_s, loop_s=0.25, is_limited=is_limited)
        for is_limited in (True, False)
    )
    for load in (limited, unlimited):
        load.run(seconds)
    return limited, unlimited


@pytest.mark.parametrize(
    ("places", "task_s", "way_s", "seconds"),
    [(1, 1, 0.1, 60), (8, 0.1, 0.1, 12), (8, 0.1, 1, 60), (8, 10, 0.1, 100), (50, 0.1, 0.3, 16)],
)
def test_the_limit_costs_no_throughput(
    places: int, task_s: float, way_s: float, seconds: float
) -> None:
    """The reserve hides the way from the end of one to the start of the next, also a long way."""
    limited, unlimited = both(places, task_s, way_s, seconds)
    rate, unlimited_rate = (load.ended - load.ended_before for load in (limited, unlimited))
    assert rate >= 0.97 * unlimited_rate


@pytest.mark.parametrize(("places", "task_s"), [(8, 1), (8, 10), (50, 1)])
def test_what_is_urgent_overtakes_what_waits(places: int, task_s: float) -> None:
    """Without the limit it waits for all that is in Lambda's queue: three tasks of each place."""
    limited, unlimited = both(places, task_s, 0.1, 14 * task_s)
    assert unlimited.urgent_waited_s >= 2.5 * task_s
    assert limited.urgent_waited_s <= 0.3 * unlimited.urgent_waited_s
