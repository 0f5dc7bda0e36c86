"""Concurrency limits and pools of warm environments: whether and where an invocation runs.

Every function version has its own pool, and so has every isolated tenant. The versions of a
function share its reserved concurrency; functions without one share the account's limit.
"""

from __future__ import annotations

import logging
import threading
import time
from collections import Counter, defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Protocol

from local_aws.lambda_service.execution_environment import ExecutionEnvironment
from local_aws.lambda_service.model import (
    FunctionKey,
    FunctionVersion,
    InvokeRequest,
    InvokeResponse,
)
from local_aws.lambda_service.scaling import ScalingRate

logger = logging.getLogger("local_aws.lambda_service.pool")

_REAP_EVERY_S = 5.0

#: Limit of a provisioned environment's init phase:
#: https://docs.aws.amazon.com/lambda/latest/dg/lambda-runtime-environment.html
_PROVISIONED_INIT_S = 130.0

#: Function, version, revision and tenant; environments are not shared between keys.
_PoolKey = tuple[FunctionKey, str, str, str]


@dataclass(frozen=True, slots=True)
class Limits:
    """The command line's options of these names; `scaling_rate` is per ten seconds."""

    account_concurrency: int
    scaling_rate: int
    init_timeout_s: float
    restore_timeout_s: float
    idle_timeout_s: float


@dataclass(frozen=True, slots=True)
class Permit:
    """The right to run one invocation of a function version; `Pools.run` uses it up.

    Attributes:
        tenant_id: Empty: the function does not isolate its tenants.
        reserved: Whether it counts against the function's reserved concurrency alone.
        environment: The warm environment to run in; None: start a new one.
    """

    function: FunctionVersion
    tenant_id: str
    reserved: bool
    environment: ExecutionEnvironment | None


@dataclass(frozen=True, slots=True)
class Throttled:
    """Lambda's reason why an invocation may not run now."""

    reason: str


class Functions(Protocol):
    """The configuration of functions."""

    def exists(self, function: FunctionKey, /) -> bool:
        """Whether there is such a function."""

    def reserved_concurrency(self, function: FunctionKey, /) -> int | None:
        """A function's reserved concurrency; None: it has none."""

    def provisioned_concurrency(self) -> Sequence[tuple[FunctionVersion, int]]:
        """Function versions with provisioned concurrency, and how much."""

    def is_current(self, function: FunctionVersion, /) -> bool:
        """Whether a function version still exists unchanged."""


class Pools:
    """The execution environments of all functions.

    Args:
        start: Starts an environment of a function version for a tenant; the last argument is
            whether it is provisioned.
        on_release: Called whenever another invocation may be able to run.
    """

    def __init__(
        self,
        limits: Limits,
        functions: Functions,
        *,
        start: Callable[[FunctionVersion, str, bool], ExecutionEnvironment],
        on_release: Callable[[], None],
    ) -> None:
        self._limits = limits
        self._functions = functions
        self._start = start
        self._on_release = on_release
        self._scaling = ScalingRate(limits.scaling_rate)
        self._lock = threading.Lock()
        self._idle: dict[_PoolKey, list[ExecutionEnvironment]] = defaultdict(list)
        self._busy: set[ExecutionEnvironment] = set()
        #: Provisioned environments that are not in `_busy` yet.
        self._starting: Counter[_PoolKey] = Counter()
        self._running: Counter[FunctionKey] = Counter()
        self._unreserved = 0
        self._closed = threading.Event()
        threading.Thread(target=self._reap, name="reaper", daemon=True).start()

    def try_acquire(self, function: FunctionVersion, tenant_id: str) -> Permit | Throttled:
        """Get the right to run one invocation now, in a warm environment if there is one."""
        key = function.function_key
        limit = self._functions.reserved_concurrency(key)
        with self._lock:
            if self._closed.is_set():
                return Throttled("CallerRateLimitExceeded")
            if limit is None and self._unreserved >= self._limits.account_concurrency:
                return Throttled("ConcurrentInvocationLimitExceeded")
            if limit is not None and self._running[key] >= limit:
                return Throttled("ReservedFunctionConcurrentInvocationLimitExceeded")
            environment = self._take_idle(_key(function, tenant_id))
            if environment is None and not self._scaling.take(key):
                return Throttled("FunctionInvocationRateLimitExceeded")
            self._running[key] += 1
            self._unreserved += limit is None
        return Permit(function, tenant_id, limit is not None, environment)

    def run(self, permit: Permit, invocation: InvokeRequest) -> InvokeResponse:
        """Run an invocation and release its permit.

        Raises:
            OSError: No environment could be started.
            SnapStartError: No environment could be restored.
        """
        try:
            environment = permit.environment or self._start_busy(
                permit.function, permit.tenant_id, provisioned=False
            )
            try:
                return environment.invoke(invocation, self._limits.init_timeout_s)
            finally:
                self._return_to_pool(environment)
        finally:
            self._release(permit)

    def provision(self) -> None:
        """Start the missing provisioned environments, without waiting until they are ready."""
        wanted = {_key(f, ""): (f, count) for f, count in self._functions.provisioned_concurrency()}
        missing: list[FunctionVersion] = []
        with self._lock:
            kept = self._all()
            have = Counter(_key(e.function, "") for e in kept if e.provisioned) + self._starting
            for environment in kept:
                environment.provisioned &= _key(environment.function, "") in wanted
            for key, (function, count) in wanted.items():
                missing += [function] * (count - have[key])
            self._starting.update(_key(function, "") for function in missing)
        for function in missing:
            threading.Thread(
                target=self._provision_one, args=(function,), name="provision", daemon=True
            ).start()

    def end_stale(self) -> None:
        """End the idle environments of changed or deleted function versions."""
        self._end_idle(lambda environment: not self._functions.is_current(environment.function))

    def close(self) -> None:
        """End every environment, including busy ones; no other starts after this."""
        with self._lock:
            self._closed.set()
            environments = self._all()
            self._idle.clear()
        for environment in environments:
            environment.cut()
        for environment in environments:
            environment.end()

    def _all(self) -> list[ExecutionEnvironment]:
        return [*self._busy, *(e for idle in self._idle.values() for e in idle)]

    def _release(self, permit: Permit) -> None:
        with self._lock:
            self._running[permit.function.function_key] -= 1
            if not permit.reserved:
                self._unreserved -= 1
        self._on_release()

    def _take_idle(self, key: _PoolKey) -> ExecutionEnvironment | None:
        idle = self._idle[key]
        while idle:
            environment = idle.pop()
            if environment.alive:
                self._busy.add(environment)
                return environment
        return None

    def _start_busy(
        self, function: FunctionVersion, tenant_id: str, *, provisioned: bool
    ) -> ExecutionEnvironment:
        environment = self._start(function, tenant_id, provisioned)
        environment.provisioned = provisioned
        with self._lock:
            closed = self._closed.is_set()
            self._busy.add(environment)
        if closed:
            environment.end()
        return environment

    def _provision_one(self, function: FunctionVersion) -> None:
        try:
            environment = self._start_busy(function, "", provisioned=True)
        except Exception:
            logger.exception("could not start a provisioned environment of %s", function.arn)
            return
        finally:
            with self._lock:
                self._starting[_key(function, "")] -= 1
        environment.initialize(max(_PROVISIONED_INIT_S, function.timeout_s))
        environment.freeze()
        self._return_to_pool(environment)
        self._on_release()

    def _return_to_pool(self, environment: ExecutionEnvironment) -> None:
        usable = environment.alive and self._functions.is_current(environment.function)
        environment.idle_since_s = time.monotonic()
        with self._lock:
            self._busy.discard(environment)
            keep = usable and not self._closed.is_set()
            if keep:
                self._idle[_key(environment.function, environment.tenant_id)].append(environment)
        if not keep:
            environment.end()

    def _reap(self) -> None:
        while not self._closed.wait(_REAP_EVERY_S):
            oldest_s = time.monotonic() - self._limits.idle_timeout_s
            self._end_idle(partial(self._is_unwanted, oldest_s))
            self.provision()

    def _is_unwanted(self, oldest_s: float, environment: ExecutionEnvironment) -> bool:
        return (
            (environment.idle_since_s < oldest_s and not environment.provisioned)
            or not environment.alive
            or not self._functions.is_current(environment.function)
        )

    def _end_idle(self, unwanted: Callable[[ExecutionEnvironment], bool]) -> None:
        ended: list[ExecutionEnvironment] = []
        with self._lock:
            for idle in self._idle.values():
                ended += (gone := [e for e in idle if unwanted(e)])
                idle[:] = [e for e in idle if e not in gone]
        # Without waiting for their end: ministack calls this while it answers a request.
        for environment in ended:
            environment.cut()


def _key(function: FunctionVersion, tenant_id: str) -> _PoolKey:
    return (function.function_key, function.version, function.revision, tenant_id)
