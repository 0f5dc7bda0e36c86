"""Why a task goes where it goes: the executor keeps it in `executor_config`, the image logs it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

#: The key of a task's `executor_config` that holds the executor's own settings.
EXECUTOR_CONFIG_KEY: Final = "lambda_executor"

#: The setting with the reason. Nobody but the executor writes it.
ROUTED: Final = "routed"


def routed(executor_config: Mapping[str, Any] | None) -> str:
    """Return why a task goes where it goes; empty: where its author sent it."""
    return own_text(executor_config, ROUTED)


def own_text(executor_config: Mapping[str, Any] | None, name: str) -> str:
    """Return one of the executor's own settings of a task; empty: there is no such text."""
    own = (executor_config or {}).get(EXECUTOR_CONFIG_KEY)
    found = own.get(name) if isinstance(own, Mapping) else None
    return found if isinstance(found, str) else ""
