"""Decides which function runs a workload, from the task's queue and its `executor_config`."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from lambda_executor.contract.errors import ConfigError, RouteError

#: The key of a task's `executor_config` that holds the executor's own settings.
EXECUTOR_CONFIG_KEY = "lambda_executor"

#: A function's name, or its partial or full ARN, with an optional version or alias after a colon,
#: and the tenant for a function that isolates tenants.
#: https://docs.aws.amazon.com/lambda/latest/api/API_Invoke.html#API_Invoke_RequestParameters
_FUNCTION = re.compile(
    r"""
    (?P<function>
        (?: arn:[a-z0-9-]+:lambda:[a-z0-9-]+:\d{12}:function: | \d{12}:function: )?
        [A-Za-z0-9-_]{1,64}
    )
    (?: : (?P<qualifier> \$LATEST | [A-Za-z0-9-_]{1,128} ) )?
    (?: @ (?P<tenant> [A-Za-z0-9._:/=+\-]{1,256} ) )?
    """,
    re.VERBOSE,
)


@dataclass(frozen=True, slots=True)
class Target:
    """One version or alias of a function."""

    function: str  # Name or ARN without a qualifier.
    qualifier: str | None = None  # Version or alias; None: the latest unpublished version.
    tenant: str | None = None  # None: the function does not isolate tenants.

    @classmethod
    def parse(cls, text: str, *, qualifier: str | None = None, where: str) -> Target:
        """Read `name`, `name:alias` or an ARN of either form, each optionally with `@tenant`.

        Args:
            text: The text that a person set.
            qualifier: The version or alias when `text` has none.
            where: Where they set it, for the error.

        Raises:
            ConfigError: `text` has none of these forms, or its qualifier is not `qualifier`.
        """
        match = _FUNCTION.fullmatch(text.strip())
        if match is None:
            raise ConfigError(
                f"{where} is {text!r:.200}, which is neither the name nor the ARN of a function",
                fix="write name, name:alias or "
                "arn:aws:lambda:<region>:<account>:function:<name>[:alias]",
            )
        own = match["qualifier"]
        if own and qualifier and own != qualifier:
            raise ConfigError(
                f"{where} is {text!r} with the qualifier {own!r}, and function_qualifier is "
                f"{qualifier!r}",
                fix="remove one of them",
            )
        return cls(match["function"], own or qualifier, match["tenant"])

    def __str__(self) -> str:
        name = f"{self.function}:{self.qualifier}" if self.qualifier else self.function
        return f"{name}@{self.tenant}" if self.tenant else name


@dataclass(frozen=True, slots=True)
class Routes:
    """The functions of one environment."""

    default: Target  # Runs every workload that does not select another function.
    default_queue: str = "default"  # The queue of a task that names none; it needs no entry.
    by_queue: Mapping[str, Target] = field(default_factory=dict)  # Empty: queues are ignored.

    def target(self, queue: str | None, executor_config: Mapping[str, Any] | None = None) -> Target:
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

    def targets(self) -> tuple[Target, ...]:
        """Return every function, the default one first."""
        others = set(self.by_queue.values()) - {self.default}
        return (self.default, *sorted(others, key=str))

    def _override(self, override: object) -> Target:
        name = override.get("function") if isinstance(override, Mapping) else None
        if not isinstance(name, str):
            raise RouteError(
                f"executor_config[{EXECUTOR_CONFIG_KEY!r}] is {override!r:.100}; write "
                '{"function": "<a queue or a function>"}'
            )
        if name in self.by_queue:
            return self.by_queue[name]
        try:
            return Target.parse(name, where=f"executor_config[{EXECUTOR_CONFIG_KEY!r}]['function']")
        except ConfigError as e:
            raise RouteError(f"{e}; known queues: {self._known()}") from e

    def _known(self) -> str:
        return ", ".join(sorted({self.default_queue, *self.by_queue}))
