"""The handler's log lines: JSON on stdout, which Lambda sends to the log stream.

No line holds an event, a command or a workload: they contain the workload's token.
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
    """Write one line: a level (`info`, `warning` or `error`), an event in fixed words, fields."""
    timestamp = datetime.now(UTC).isoformat(timespec="milliseconds")
    line = {"timestamp": timestamp, "level": level, "event": event, **fields}
    log_output.end_line()
    sys.stdout.write(json.dumps(line, default=str) + "\n")
    sys.stdout.flush()


@dataclass(frozen=True, slots=True)
class WorkloadFacts:
    """Facts about a workload for the log, all None for a workload that is not a task."""

    dag_id: str | None = None
    task_id: str | None = None
    run_id: str | None = None
    map_index: int | None = None
    try_number: int | None = None
    token: str = field(default="", repr=False)

    @classmethod
    def read(cls, workload_json: str) -> WorkloadFacts:
        """Read the facts from a workload's JSON, without Airflow; none if it is malformed."""
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
