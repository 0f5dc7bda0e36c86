"""JSON for files that are committed: indented, but with a line for each list of plain values."""

from __future__ import annotations

import json
from typing import Any


def compact_json(value: Any, depth: int = 0) -> str:
    """Return the value as JSON; `depth` is how far it is indented already."""
    inner = "\n" + " " * (depth + 1)
    if isinstance(value, dict) and value:
        rows = (
            f"{json.dumps(key)}: {compact_json(each, depth + 1)}" for key, each in value.items()
        )
        return "{" + inner + f",{inner}".join(rows) + "\n" + " " * depth + "}"
    if isinstance(value, list) and any(isinstance(each, dict) for each in value):
        rows = (compact_json(each, depth + 1) for each in value)
        return "[" + inner + f",{inner}".join(rows) + "\n" + " " * depth + "]"
    return json.dumps(value)
