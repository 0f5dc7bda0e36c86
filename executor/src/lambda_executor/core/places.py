"""The places of each function: how many invocations it may run at once, and which are taken.

What Lambda cannot start at once waits in Lambda's own queue, where priorities do not count. So no
more is sent than can start, and a small reserve, which hides the way from the end of one invocation
to the start of the next. What has no place stays in the `DispatchQueue`, in order of priority, and
most of it stays in Airflow's database.

The reserve is what ends on that way: the number of places, divided by what an invocation takes and
multiplied by what the way takes (Little's law). Both times are measured. A place whose invocation
runs for much longer than the others do does not count, because it will not be free soon. No
threads, no clock.
"""

from __future__ import annotations

import math
from collections import Counter, deque
from collections.abc import Mapping
from dataclasses import dataclass, field
from statistics import fmean

from lambda_executor.contract.wire import InvocationId

#: From the end of one invocation to the start of the next: so many times what the result and the
#: invoke take, and so many seconds. Lambda's own part of it cannot be measured.
WAY = 1.5
WAY_S = 0.15
#: Seconds between two loops of a scheduler under load. What ends in this time is accepted beside
#: the reserve, because Airflow can add to it only once in a loop.
LOOP_S = 3.0
#: The largest reserve, as a multiple of the places: some of the next invocations may be long.
MOST_RESERVE = 8
#: The shortest time that an invocation is taken to need, in seconds.
LEAST_S = 0.01
#: The share of the places that may be free for a moment, so that long invocations need no reserve.
IDLE = 0.02
#: The last invocations whose mean duration counts.
WINDOW = 32
#: The longest time for which a result counts as on its way: beyond it no scheduler ran, or a clock
#: was set.
MOST_RESULT_S = 5.0
#: An invocation that has run for so many mean durations, and for so many seconds, is a long one.
LONG = 4
LONG_S = 2.0


@dataclass(frozen=True, slots=True)
class Limit:
    """How many invocations one function, or several together, may run at once.

    Attributes:
        name: What has the limit: a function, or the account. Equal names share their places.
        most: The number of places, at least 1.
    """

    name: str
    most: int


#: By function; None: how many it may run is not known.
Limits = Mapping[str, Limit | None]


class _Mean:
    """The mean of the last values. It is read for each send, and changes only with a new value."""

    def __init__(self, *values: float) -> None:
        self._values = deque(values, maxlen=WINDOW)
        self.value: float | None = fmean(values) if values else None

    def add(self, value: float) -> None:
        self._values.append(value)
        self.value = fmean(self._values)


@dataclass(slots=True)
class _Use:
    """The taken places of one limit.

    Attributes:
        recent: Since when the invocations have their places, the oldest first.
        long: The same, of those that have run for long; None: another scheduler sent it.
        duration_s: Of the last invocations that ended, without the way.
    """

    recent: dict[InvocationId, float] = field(default_factory=dict)
    long: dict[InvocationId, float | None] = field(default_factory=dict)
    duration_s: _Mean = field(default_factory=_Mean)

    def __len__(self) -> int:
        return len(self.recent) + len(self.long)

    def ending(self, most: int, seconds: float, now_s: float) -> int:
        """How many of so many places become free in so many seconds while all are taken."""
        mean_s = self.duration_s.value
        if mean_s is None:
            return 0
        long_s = max(LONG_S, LONG * mean_s)
        while self.recent and now_s - (oldest := next(iter(self.recent.items())))[1] > long_s:
            self.long[oldest[0]] = self.recent.pop(oldest[0])
        return math.ceil(max(0, most - len(self.long)) * max(0.0, seconds / mean_s - IDLE))

    def since_s(self, id: InvocationId) -> float | None:
        """Since when an invocation has its place; None: it is not known."""
        return self.recent.get(id, self.long.get(id))


class Places:
    """The places that the invocations of one executor have taken.

    A function of which nothing is known has a place for everything.
    """

    def __init__(self) -> None:
        self._limits: Limits = {}
        self._functions: dict[InvocationId, str] = {}
        self._uses: dict[str, _Use] = {}
        self._are_unlimited = False
        self._invoke_s = _Mean(0.0)
        self._result_s = _Mean(0.0)

    def limit(self, limits: Limits) -> None:
        """Replace all limits; those of functions that are missing are not known."""
        before, self._limits, self._uses = self._uses, dict(limits), {}
        uses = before.values()
        since_s = {id: use.since_s(id) for use in uses for id in (*use.long, *use.recent)}
        for id in self._functions:  # In the order in which they were sent.
            self._take(id, since_s.get(id))
        for name, use in before.items():
            self._use(name).duration_s = use.duration_s

    def lift(self) -> None:
        """Let everything have a place from now on."""
        self._are_unlimited = True

    def are_free(self, function: str, now_s: float) -> bool:
        """Whether a function has a free place, or one in the reserve."""
        limit = self._limits.get(function)
        if limit is None or self._are_unlimited:
            return True
        return len(self._use(limit.name)) < limit.most + self._reserve(limit, now_s)

    def take(self, id: InvocationId, function: str, now_s: float | None) -> None:
        """Give an invocation a place, if it has none.

        Args:
            id: The invocation.
            function: Its function.
            now_s: When it is sent; None: another scheduler has sent it.
        """
        if id not in self._functions:
            self._functions[id] = function
            self._take(id, now_s)

    def free(self, id: InvocationId) -> None:
        """Free the place of an invocation, if it has one."""
        if (function := self._functions.pop(id, None)) is not None:
            use = self._use(self._name(function))
            use.recent.pop(id, None)
            use.long.pop(id, None)

    def invoked(self, took_s: float) -> None:
        """Record what an invoke took, from the decision to send it to Lambda's answer."""
        self._invoke_s.add(took_s)

    def ended(self, id: InvocationId, now_s: float, result_s: float = 0) -> None:
        """Free the place of an invocation that has ended.

        Args:
            id: The invocation.
            now_s: The time.
            result_s: How long its result was in the queue, in seconds.
        """
        if (function := self._functions.get(id)) is not None:
            use = self._use(self._name(function))
            if (since_s := use.since_s(id)) is not None:
                self._result_s.add(min(max(0.0, result_s), MOST_RESULT_S))
                use.duration_s.add(max(LEAST_S, now_s - since_s - self._way_s()))
            self.free(id)

    def room(self, waiting: Mapping[str, int], now_s: float) -> dict[Limit, int]:
        """Return how many more invocations should be accepted, for each limit.

        Empty: there are functions without a limit, so any number may be accepted.

        Args:
            waiting: By function, the number of invocations that wait for a place.
            now_s: The time.
        """
        if self._are_unlimited or None in self._limits.values():
            return {}
        counts: Counter[str] = Counter()
        for function, count in waiting.items():
            counts[self._name(function)] += count
        return {
            limit: limit.most
            + self._reserve(limit, now_s)
            + self._use(limit.name).ending(limit.most, LOOP_S, now_s)
            - len(self._use(limit.name))
            - counts[limit.name]
            for limit in dict.fromkeys(filter(None, self._limits.values()))
        }

    def _reserve(self, limit: Limit, now_s: float) -> int:
        seconds = WAY * self._way_s() + WAY_S
        ending = self._use(limit.name).ending(limit.most, seconds, now_s)
        return min(MOST_RESERVE * limit.most, ending)

    def _way_s(self) -> float:
        return (self._invoke_s.value or 0.0) + (self._result_s.value or 0.0)

    def _take(self, id: InvocationId, since_s: float | None) -> None:
        use = self._use(self._name(self._functions[id]))
        if since_s is None:
            use.long[id] = None
        else:
            use.recent[id] = since_s

    def _use(self, name: str) -> _Use:
        if (use := self._uses.get(name)) is None:  # It is asked for each send.
            use = self._uses[name] = _Use()
        return use

    def _name(self, function: str) -> str:
        limit = self._limits.get(function)
        return limit.name if limit else function
