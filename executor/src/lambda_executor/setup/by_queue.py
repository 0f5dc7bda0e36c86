"""The options that are a JSON object with an entry for each Airflow queue."""

from __future__ import annotations

import json
from typing import Any

from lambda_executor.contract.errors import ConfigError
from lambda_executor.contract.options import SECTION, Option


def read(option: Option[str], text: str, what: str) -> dict[str, Any]:
    """Return the entries by queue, in the order in which they are written.

    Args:
        option: The option.
        text: Its value.
        what: What an entry is, for people.

    Raises:
        ConfigError: The value is not such an object.
    """
    try:
        found = json.loads(text)
    except (ValueError, RecursionError) as e:
        raise unusable(option, f"is no JSON ({e})", "set it to a JSON object") from None
    if not isinstance(found, dict):
        fix = f"set it to a JSON object from queue to {what}"
        raise unusable(option, f"is {text!r:.200}", fix)
    return found


def unusable(option: Option[str], fault: str, fix: str) -> ConfigError:
    """Return the error for a value with a fault."""
    return ConfigError(
        f"[{SECTION}] {option.name} {fault}",
        fix=f"{fix}, for example {option.example}",
        command=option.setting,
    )
