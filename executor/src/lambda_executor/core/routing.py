"""Decides where a workload goes, from the task's queue and its `executor_config`."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from lambda_executor.contract.errors import ConfigError, RouteError
from lambda_executor.core.apis import JOBS
from lambda_executor.core.targets import FunctionTarget, JobTarget, Target

#: The key of a task's `executor_config` that holds the executor's own settings.
EXECUTOR_CONFIG_KEY = "lambda_executor"


@dataclass(frozen=True, slots=True)
class Routes:
    """The targets of one environment."""

    default: FunctionTarget  # Runs every workload that does not select another target.
    default_queue: str = "default"  # The queue of a task that names none; it needs no entry.
    by_queue: Mapping[str, FunctionTarget] = field(
        default_factory=dict
    )  # Empty: only the queues of jobs matter.
    jobs: Mapping[str, JobTarget] = field(default_factory=dict)  # By queue, too.

    def target(self, queue: str | None, executor_config: Mapping[str, Any] | None = None) -> Target:
        """Return the target of a workload with or without a queue.

        `{"lambda_executor": {"target": <queue>}}` or `{"lambda_executor": {"function": <queue or
        function>}}` in `executor_config` wins over the queue.

        Raises:
            RouteError: The queue, the target or the function is not known.
        """
        override = (executor_config or {}).get(EXECUTOR_CONFIG_KEY)
        if override is not None:
            return self._override(override)
        if queue is None:
            return self.default
        if (known := self._by_name(queue)) is not None:
            return known
        if not self.by_queue:
            return self.default
        raise RouteError(
            f"no target serves the queue {queue!r}; known queues: {self._known()}. Set the task's "
            "queue to one of them, or add it to [lambda_executor] functions or targets"
        )

    def targets(self) -> tuple[FunctionTarget, ...]:
        """Return every function, the default one first."""
        others = set(self.by_queue.values()) - {self.default}
        return (self.default, *sorted(others, key=str))

    def _by_name(self, name: str) -> Target | None:
        if name in self.by_queue:
            return self.by_queue[name]
        if name in self.jobs:
            return self.jobs[name]
        return self.default if name == self.default_queue else None

    def _override(self, override: object) -> Target:
        asked = override if isinstance(override, Mapping) else {}
        function, target = asked.get("function"), asked.get("target")
        if isinstance(target, str) and function is None:
            if (known := self._by_name(target)) is not None:
                return known
            raise RouteError(
                f"executor_config[{EXECUTOR_CONFIG_KEY!r}]['target'] is {target!r:.100}; known "
                f"targets: {self._known()}"
            )
        if isinstance(function, str) and target is None:
            return self._function(function)
        raise RouteError(
            f"executor_config[{EXECUTOR_CONFIG_KEY!r}] is {override!r:.100}; write either "
            '{"target": "<a queue>"} or {"function": "<a queue or a function>"}'
        )

    def _function(self, name: str) -> FunctionTarget:
        if name in self.by_queue:
            return self.by_queue[name]
        where = f"executor_config[{EXECUTOR_CONFIG_KEY!r}]['function']"
        if name in self.jobs:
            raise RouteError(
                f"{where} is {name!r}, which is no function; write {{'target': {name!r}}}"
            )
        try:
            return FunctionTarget.parse(name, where=where)
        except ConfigError as e:
            raise RouteError(f"{e}; known queues: {self._known()}") from e

    def _known(self) -> str:
        return ", ".join(sorted({self.default_queue, *self.by_queue, *self.jobs}))


def overrides(target: Target, executor_config: Mapping[str, Any] | None) -> Mapping[str, Any]:
    """Return what a task's `executor_config` adds to the request that starts its job.

    Raises:
        RouteError: It has overrides of the request of another service, or no object.
    """
    if not executor_config:
        return {}
    own = target.service if isinstance(target, JobTarget) else None
    for service in JOBS:
        if service.value in executor_config and service is not own:
            raise RouteError(
                f"executor_config[{service.value!r}] is for a job of {JOBS[service].name}, and the "
                f"task's target is {_described(target)}: remove it, or set the task's queue to "
                f"that of a target of {JOBS[service].name}"
            )
    found = executor_config.get(own.value, {}) if own else {}
    if own and not isinstance(found, Mapping):
        raise RouteError(
            f"executor_config[{own.value!r}] is {found!r:.100}; write an object with parameters of "
            f"the request to {JOBS[own].name}"
        )
    return found


def _described(target: Target) -> str:
    if isinstance(target, JobTarget):
        return f"the job target {target.name!r} of {JOBS[target.service].name}"
    return f"the function {target}"
