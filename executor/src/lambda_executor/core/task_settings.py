"""What one task asks of the executor: `{"lambda_executor": {...}}` in its `executor_config`."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from lambda_executor.contract.errors import RouteError
from lambda_executor.contract.numbers import finite
from lambda_executor.contract.routing_reason import EXECUTOR_CONFIG_KEY, ROUTED, own_text, routed
from lambda_executor.core.offers import Need

#: The setting with the queue of the next try, if the try before decided on it. Nobody but the
#: executor writes it.
MOVED_TO = "moved_to"

#: The value of `on_deadline`.
NEXT_TARGET = "next_target"

#: The settings of the need, and whether each is a whole number.
_NEED = {"memory_mb": True, "cpu": False, "gpu": True, "disk_gb": False}
_ALLOWED = ("target", "function", *_NEED, "on_deadline")


@dataclass(frozen=True, slots=True)
class TaskSettings:
    """The settings of one task.

    Attributes:
        target: The queue of the target that the author chose.
        function: The function that the author chose, or its queue.
        need: What the task needs, without its `execution_timeout`.
        moves_on_deadline: Whether its retry goes to the next larger target if it ran out of time.
        routed: Why the task goes where it goes; empty: where its author sent it.
    """

    target: str | None = None
    function: str | None = None
    need: Need = field(default_factory=Need)
    moves_on_deadline: bool = False
    routed: str = ""

    @classmethod
    def read(cls, executor_config: Mapping[str, Any] | None) -> TaskSettings:
        """Read the settings of a task.

        Raises:
            RouteError: One of them is unknown, or has an unusable value.
        """
        if not executor_config or EXECUTOR_CONFIG_KEY not in executor_config:
            return cls()
        given = executor_config[EXECUTOR_CONFIG_KEY]
        if not isinstance(given, Mapping) or not given:
            raise _unusable(given)
        if unknown := sorted(set(map(str, given)) - {*_ALLOWED, ROUTED, MOVED_TO}):
            raise RouteError(
                f"executor_config[{EXECUTOR_CONFIG_KEY!r}] has {unknown[0]!r:.100}; allowed are "
                f"{', '.join(_ALLOWED)}"
            )
        target, function = given.get("target"), given.get("function")
        if not _is_choice(target) or not _is_choice(function) or (target and function):
            raise _unusable(given)
        on_deadline = given.get("on_deadline")
        if on_deadline not in (None, NEXT_TARGET):
            raise RouteError(
                f"{_where('on_deadline')} is {on_deadline!r:.100}; write {NEXT_TARGET!r}, or leave "
                "it out"
            )
        need = Need(**{name: _number(name, given[name]) for name in _NEED if name in given})
        return cls(
            target=target,
            function=function,
            need=need,
            moves_on_deadline=on_deadline is not None,
            routed=routed(executor_config),
        )


def moved_to(executor_config: Mapping[str, Any] | None) -> str:
    """Return the queue that the try before gave to the next one; empty: none."""
    return own_text(executor_config, MOVED_TO)


def with_routed(
    executor_config: Mapping[str, Any] | None, reason: str, moved_to: str = ""
) -> dict[str, Any]:
    """Return a copy of an `executor_config` that says why the task goes where it goes.

    Args:
        executor_config: That of the task.
        reason: Why.
        moved_to: The queue, if the try before decided on it.
    """
    config = executor_config or {}
    moved = {MOVED_TO: moved_to} if moved_to else {}
    return {
        **config,
        EXECUTOR_CONFIG_KEY: {**config.get(EXECUTOR_CONFIG_KEY, {}), ROUTED: reason, **moved},
    }


def _number(name: str, value: object) -> Any:  # noqa: ANN401 - an int or a float, by the name
    is_whole = _NEED[name]
    number = finite(value)
    if number is None or number <= 0 or (is_whole and not isinstance(number, int)):
        kind = "whole number" if is_whole else "number"
        raise RouteError(f"{_where(name)} is {value!r:.100}; write a {kind} above 0")
    return number


def _is_choice(value: object) -> bool:
    return value is None or (isinstance(value, str) and bool(value))


def _where(name: str) -> str:
    return f"executor_config[{EXECUTOR_CONFIG_KEY!r}][{name!r}]"


def _unusable(given: object) -> RouteError:
    return RouteError(
        f"executor_config[{EXECUTOR_CONFIG_KEY!r}] is {given!r:.100}; write either "
        '{"target": "<a queue>"} or {"function": "<a queue or a function>"}, or what the task '
        f"needs: {', '.join(_NEED)}"
    )
