"""The event and field names that readers of the logs rely on.

The handler writes JSON lines, with `STARTED` and `SETTLED` as `event`. All lines between the two
are about one invocation, because an execution environment runs one at a time.
`docs/reference/handler.md` lists the fields. The executor's log lines have the same fields, which
`about` makes.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any, Final

#: The event of an execution environment that was restored from a snapshot, before its first
#: invocation. It has the environment's name in Airflow, as `hostname`.
RESTORED: Final = "restored from a snapshot"
#: The event before the workload runs.
STARTED: Final = "invocation started"
#: The event after the workload's end; there is exactly one for each invocation.
SETTLED: Final = "invocation settled"

#: The fields that name a task.
TASK: Final = ("dag_id", "task_id", "run_id", "map_index", "try_number")
#: The field with the dispatch id.
INVOCATION: Final = "invocation_id"
#: The fields of every line about an invocation in the function's log.
CONTEXT: Final = (*TASK, INVOCATION, "request_id")


def about(id: str | None = None, key: object = None) -> dict[str, object]:
    """Return the fields of a line about one invocation, as `extra` of the logging call.

    Args:
        id: The dispatch id; None if there is none yet.
        key: The key of the workload. Only a task's key has the fields as attributes.
    """
    fields: dict[str, object] = {INVOCATION: id} if id is not None else {}
    return fields | {name: getattr(key, name) for name in TASK if hasattr(key, name)}


def fields_of(text: str) -> Mapping[str, Any]:
    """Return the fields of a line of a log; of one that is no JSON object, none."""
    if not text.startswith("{"):
        return {}
    try:
        line = json.loads(text)
    except (ValueError, RecursionError):
        return {}
    return line if isinstance(line, dict) else {}


def is_platform_start(text: str, fields: Mapping[str, Any]) -> bool:
    """Whether a line is Lambda's own start line, in its text or its JSON log format."""
    return text.startswith("START RequestId: ") or fields.get("type") == "platform.start"
