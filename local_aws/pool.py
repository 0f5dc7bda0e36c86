"""Warm pools and concurrency: which environment serves an invocation, and whether one may.

Every version of a function has a pool of its own; reserved concurrency belongs to the function,
all versions together, and functions without one share the account's limit. It knows nothing of
where functions are kept: it is told the reserved concurrency and how to start an environment.
"""

from __future__ import annotations

import threading
import time
from collections import Counter, defaultdict
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

from local_aws.environment import Environment
from local_aws.functions import FunctionKey, FunctionVersion, Invocation, Outcome

_REAP_EVERY_S = 5.0

#: Function, version, revision: environments are never shared beyond these.
_PoolKey = tuple[FunctionKey, str, str]


@dataclass(frozen=True, slots=True)
class Limits:
    """What bounds the pools.

    Attributes:
        account_concurrency: Invocations at the same time of all functions without a reserved
            concurrency together.
        init_timeout_s: How long an environment may take to become ready.
        idle_timeout_s: How long a warm environment waits for its next invocation.
    """

    account_concurrency: int
    init_timeout_s: float
    idle_timeout_s: float


@dataclass(frozen=True, slots=True)
class Permit:
    """The right to run one invocation of a function; handed back with `Pools.release`."""

    function: FunctionKey
    reserved: bool


class Pools:
    """The execution environments of all functions.

    Args:
        limits: What bounds them.
        start: Starts an environment of a function version.
        reserved_concurrency: Tells a function's reserved concurrency; None: it has none.
        is_current: Whether a function version still exists as it was.
        on_release: Called after a permit has come back.
    """

    def __init__(
        self,
        limits: Limits,
        *,
        start: Callable[[FunctionVersion], Environment],
        reserved_concurrency: Callable[[FunctionKey], int | None],
        is_current: Callable[[FunctionVersion], bool],
        on_release: Callable[[], None],
    ) -> None:
        self._limits = limits
        self._start = start
        self._reserved_concurrency = reserved_concurrency
        self._is_current = is_current
        self._on_release = on_release
        self._lock = threading.Lock()
        self._idle: dict[_PoolKey, list[Environment]] = defaultdict(list)
        self._busy: set[Environment] = set()
        self._running: Counter[FunctionKey] = Counter()
        self._unreserved = 0
        self._closed = threading.Event()
        threading.Thread(target=self._reap, name="reaper", daemon=True).start()

    def try_acquire(self, function: FunctionKey) -> Permit | None:
        """The right to run one invocation now, or None when the function is throttled."""
        limit = self._reserved_concurrency(function)
        with self._lock:
            if self._closed.is_set():
                return None
            if limit is None:
                if self._unreserved >= self._limits.account_concurrency:
                    return None
                self._unreserved += 1
            elif self._running[function] >= limit:
                return None
            self._running[function] += 1
        return Permit(function, reserved=limit is not None)

    def release(self, permit: Permit) -> None:
        """Hand a permit back."""
        with self._lock:
            self._running[permit.function] -= 1
            if not permit.reserved:
                self._unreserved -= 1
        self._on_release()

    def run(self, function: FunctionVersion, invocation: Invocation) -> Outcome:
        """Run an invocation in a warm environment, or a new one. Needs a permit.

        Raises:
            OSError: No environment could be started.
        """
        environment = self._take(function)
        outcome = None
        try:
            outcome = environment.invoke(invocation, self._limits.init_timeout_s)
        finally:
            self._give_back(environment, usable=bool(outcome and outcome.environment_usable))
        return outcome

    def end_stale(self) -> None:
        """End the idle environments whose function version was changed or deleted."""
        self._end_idle(lambda environment: not self._is_current(environment.function))

    def close(self) -> None:
        """End every environment, busy ones too. Nothing starts after this."""
        with self._lock:
            self._closed.set()
            environments = [*self._busy]
            for idle in self._idle.values():
                environments += idle
            self._idle.clear()
        for environment in environments:
            environment.cut()
        for environment in environments:
            environment.end()

    def _take(self, function: FunctionVersion) -> Environment:
        with self._lock:
            idle = self._idle[_key(function)]
            while idle:
                environment = idle.pop()
                if environment.alive:
                    self._busy.add(environment)
                    return environment
        environment = self._start(function)
        with self._lock:
            closed = self._closed.is_set()
            self._busy.add(environment)
        if closed:
            environment.end()
        return environment

    def _give_back(self, environment: Environment, *, usable: bool) -> None:
        usable = usable and self._is_current(environment.function)
        environment.idle_since_s = time.monotonic()
        with self._lock:
            self._busy.discard(environment)
            keep = usable and not self._closed.is_set()
            if keep:
                self._idle[_key(environment.function)].append(environment)
        if not keep:
            environment.end()

    def _reap(self) -> None:
        while not self._closed.wait(_REAP_EVERY_S):
            oldest_s = time.monotonic() - self._limits.idle_timeout_s
            self._end_idle(partial(self._is_unwanted, oldest_s))

    def _is_unwanted(self, oldest_s: float, environment: Environment) -> bool:
        return (
            environment.idle_since_s < oldest_s
            or not environment.alive
            or not self._is_current(environment.function)
        )

    def _end_idle(self, unwanted: Callable[[Environment], bool]) -> None:
        ended: list[Environment] = []
        with self._lock:
            for idle in self._idle.values():
                ended += (gone := [e for e in idle if unwanted(e)])
                idle[:] = [e for e in idle if e not in gone]
        # Nobody waits for them: this is also called where ministack answers requests.
        for environment in ended:
            environment.cut()


def _key(function: FunctionVersion) -> _PoolKey:
    return (function.function_key, function.version, function.revision)
