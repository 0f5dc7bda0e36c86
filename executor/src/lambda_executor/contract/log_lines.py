"""The names in logs that readers of them rely on. Plain Python.

The handler writes the lines of a function's log as JSON, with `STARTED` and `SETTLED` as `event`;
everything between the two is of one invocation, because an execution environment has one at a
time. `docs/reference/handler.md` has their fields. The executor's lines in the scheduler's log are
sentences; what they are about they say in fields of the same names, which `about` makes.
"""

from __future__ import annotations

from typing import Final

#: Before the workload runs.
STARTED: Final = "invocation started"
#: After its end; there is exactly one for each invocation.
SETTLED: Final = "invocation settled"

#: What names a task.
TASK: Final = ("dag_id", "task_id", "run_id", "map_index", "try_number")
#: What names an invocation: its dispatch id.
INVOCATION: Final = "invocation_id"
#: What every line of an invocation in the function's log says of it, from its start on.
CONTEXT: Final = (*TASK, INVOCATION, "request_id")


def about(id: str | None = None, key: object = None) -> dict[str, object]:
    """The fields of a line about one invocation: `extra` of its logging call.

    Args:
        id: The invocation; None: there is none yet.
        key: What names its workload. A task's key has the fields as attributes; others have none.
    """
    fields: dict[str, object] = {INVOCATION: id} if id is not None else {}
    return fields | {name: getattr(key, name) for name in TASK if hasattr(key, name)}
