"""The names in logs that readers of them rely on. Plain Python.

The handler writes the lines of a function's log as JSON, with `STARTED` and `SETTLED` as `event`;
everything between the two is of one invocation, because an execution environment has one at a
time. `docs/reference/handler.md` has their fields.
"""

from __future__ import annotations

from typing import Final

#: Before the workload runs.
STARTED: Final = "invocation started"
#: After its end; there is exactly one for each invocation.
SETTLED: Final = "invocation settled"

#: What every line of an invocation says of its task, from its start on.
TASK: Final = ("dag_id", "task_id", "run_id", "map_index", "try_number")
#: What every line of an invocation says of it, from its start on.
CONTEXT: Final = (*TASK, "invocation_id", "request_id")
