"""Decides which function runs a workload, from the task's queue and its `executor_config`."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from lambda_executor.contract.errors import ConfigError, RouteError
from lambda_executor.core.targets import FunctionTarget

#: The key of a task's `executor_config` that holds the executor's own settings.
EXECUTOR_CONFIG_KEY = "lambda_executor"


@dataclass(frozen=True, slots=True)
class Routes:
    """The functions of one environment."""

    default: FunctionTarget  # Runs every workload that does not select another function.
    default_queue: str = "default"  # The queue of a task that names none; it needs no entry.
    by_queue: Mapping[str, FunctionTarget] = field(
        default_factory=dict
    )  # Empty: queues are ignored.

    def target(
        self, queue: str | None, executor_config: Mapping[str, Any] | None = None
    ) -> FunctionTarget:
        """Return the function for a workload with or without a queue.

        `{"lambda_executor": {"function": <queue or function>}}` in `executor_config` wins over the
        queue.

        Raises:
            RouteError: The queue or the function is not known.
        """
        override = (executor_config or {}).get(EXECUTOR_CONFIG_KEY)
        if override is not None:
            return self._override(override)
        if queue is None or not self.by_queue:
            return self.default
        if queue in self.by_queue:
            return self.by_queue[queue]
        if queue == self.default_queue:
            return self.default
        raise RouteError(
            f"no function serves the queue {queue!r}; known queues: {self._known()}. Set the "
            "task's queue to one of them, or add it to [lambda_executor] functions"
        )

    def targets(self) -> tuple[FunctionTarget, ...]:
        """Return every function, the default one first."""
        others = set(self.by_queue.values()) - {self.default}
        return (self.default, *sorted(others, key=str))

    def _override(self, override: object) -> FunctionTarget:
        name = override.get("function") if isinstance(override, Mapping) else None
        if not isinstance(name, str):
            raise RouteError(
                f"executor_config[{EXECUTOR_CONFIG_KEY!r}] is {override!r:.100}; write "
                '{"function": "<a queue or a function>"}'
            )
        if name in self.by_queue:
            return self.by_queue[name]
        try:
            return FunctionTarget.parse(
                name, where=f"executor_config[{EXECUTOR_CONFIG_KEY!r}]['function']"
            )
        except ConfigError as e:
            raise RouteError(f"{e}; known queues: {self._known()}") from e

    def _known(self) -> str:
        return ", ".join(sorted({self.default_queue, *self.by_queue}))
