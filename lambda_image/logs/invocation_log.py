"""The invocation's own log: JSON lines on stdout, which Lambda takes to the log stream.

Knows which fields a line has. A line never holds an event, a command or a workload: they carry
the workload's token.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

from lambda_executor.contract.log_lines import TASK
from lambda_image.logs import log_output

#: Writes one line: level, event, fields.
WriteLog = Callable[..., None]


def write(level: str, event: str, /, **fields: Any) -> None:  # noqa: ANN401 - JSON values
    """Write one line to stdout, whatever a library has left there without an end.

    Args:
        level: `info`, `warning` or `error`.
        event: What happened, in fixed words.
        **fields: JSON values.
    """
    timestamp = datetime.now(UTC).isoformat(timespec="milliseconds")
    line = {"timestamp": timestamp, "level": level, "event": event, **fields}
    log_output.end_line()
    sys.stdout.write(json.dumps(line, default=str) + "\n")
    sys.stdout.flush()


@dataclass(frozen=True, slots=True)
class WorkloadFacts:
    """What the log tells about a workload, read from its JSON without Airflow.

    Everything is None for a workload that is not a task.
    """

    dag_id: str | None = None
    task_id: str | None = None
    run_id: str | None = None
    map_index: int | None = None
    try_number: int | None = None
    token: str = field(default="", repr=False)

    @classmethod
    def read(cls, workload_json: str) -> WorkloadFacts:
        """Read what is there; a workload that cannot be read has no facts."""
        try:
            workload = json.loads(workload_json)
        except (ValueError, RecursionError):
            return cls()
        if not isinstance(workload, Mapping):
            return cls()
        ti = workload.get("ti")
        ti = ti if isinstance(ti, Mapping) else {}
        token = workload.get("token")
        return cls(
            **{name: ti.get(name) for name in TASK},
            token=token if isinstance(token, str) else "",
        )

    def fields(self) -> dict[str, Any]:
        """The facts as fields of a log line; never the token."""
        return {name: getattr(self, name) for name in TASK}
