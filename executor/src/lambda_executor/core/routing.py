"""Decides where a workload goes, from the task's queue and its `executor_config`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields
from typing import Any

from lambda_executor.contract.errors import ConfigError, RouteError
from lambda_executor.contract.routing_reason import EXECUTOR_CONFIG_KEY
from lambda_executor.core.apis import JOBS
from lambda_executor.core.offers import Need
from lambda_executor.core.targets import FunctionTarget, JobTarget, Service, Target
from lambda_executor.core.task_settings import TaskSettings


@dataclass(frozen=True, slots=True)
class Routes:
    """The targets of one environment."""

    default: Target  # Runs every workload that does not select another target.
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
            RouteError: The queue, the target or the function is not known, or `executor_config` is
                unusable.
        """
        settings = TaskSettings.read(executor_config)
        if settings.target is not None:
            return self._chosen(settings.target)
        if settings.function is not None:
            return self._function(settings.function)
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

    def queues(self) -> Sequence[str]:
        """Return the queues that have a target, the default one among them."""
        return sorted({self.default_queue, *self.by_queue, *self.jobs})

    def targets(self) -> tuple[FunctionTarget, ...]:
        """Return every function, the default one first."""
        others = sorted(set(self.by_queue.values()) - {self.default}, key=str)
        return (self.default, *others) if isinstance(self.default, FunctionTarget) else (*others,)

    def job_targets(self) -> tuple[JobTarget, ...]:
        """Return every job, the default one first."""
        jobs = self.jobs.values()
        return (self.default, *jobs) if isinstance(self.default, JobTarget) else (*jobs,)

    def _by_name(self, name: str) -> Target | None:
        if name in self.by_queue:
            return self.by_queue[name]
        if name in self.jobs:
            return self.jobs[name]
        return self.default if name == self.default_queue else None

    def _chosen(self, target: str) -> Target:
        if (known := self._by_name(target)) is not None:
            return known
        raise RouteError(
            f"executor_config[{EXECUTOR_CONFIG_KEY!r}]['target'] is {target!r:.100}; known "
            f"targets: {self._known()}"
        )

    def _function(self, name: str) -> FunctionTarget:
        if name in self.by_queue:
            return self.by_queue[name]
        where = f"executor_config[{EXECUTOR_CONFIG_KEY!r}]['function']"
        if name in self.jobs:
            raise RouteError(
                f"{where} is {name!r}, which is no function; write {{'target': {name!r}}}"
            )
        if not self.targets():
            raise RouteError(
                f"{where} is {name!r:.100}, and no function is configured here, so nothing would "
                f"say that Lambda gave up on the task; known targets: {self._known()}"
            )
        try:
            return FunctionTarget.parse(name, where=where)
        except ConfigError as e:
            raise RouteError(f"{e}; known queues: {self._known()}") from e

    def _known(self) -> str:
        return ", ".join(self.queues())


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
    if isinstance(target, JobTarget) and target.is_of_reference:
        return _overrides_as_in_reference(target, executor_config)
    return _own_overrides(own, executor_config) if own else {}


def _own_overrides(own: Service, executor_config: Mapping[str, Any]) -> Mapping[str, Any]:
    found = executor_config.get(own.value, {})
    if not isinstance(found, Mapping):
        raise RouteError(
            f"executor_config[{own.value!r}] is {found!r:.100}; write an object with parameters of "
            f"the request to {JOBS[own].name}"
        )
    return found


def _overrides_as_in_reference(
    target: JobTarget, executor_config: Mapping[str, Any]
) -> Mapping[str, Any]:
    """Return all of `executor_config` but our own keys: the reference knows no key around it.

    `{"batch": {...}}` and `{"ecs": {...}}` are understood, too.
    """
    own = target.service
    ours = {EXECUTOR_CONFIG_KEY, own.value, *(each.name for each in fields(Need))}
    bare = {name: value for name, value in executor_config.items() if name not in ours}
    if own.value not in executor_config:
        return bare
    if bare:
        raise RouteError(
            f"executor_config has {own.value!r} and beside it {', '.join(sorted(map(str, bare)))}: "
            f"write all parameters of the request to {JOBS[own].name} inside "
            f"executor_config[{own.value!r}]"
        )
    return _own_overrides(own, executor_config)


def _described(target: Target) -> str:
    if isinstance(target, JobTarget):
        return f"the job target {target.name!r} of {JOBS[target.service].name}"
    return f"the function {target}"
