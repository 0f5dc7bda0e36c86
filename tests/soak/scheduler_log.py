"""What the scheduler's log tells: when it took each event, and what its executor holds.

Airflow logs a line for each event that it takes from its executor, and the executor's summary
when the scheduler gets SIGUSR2.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path

from demo.outcome.airflow_api import TryKey
from tests.support.executor_summary import ExecutorCounts

_EVENT = re.compile(
    r"(\d{4}-\d\d-\d\dT[\d:.]+Z).*Received executor event with state (?:success|failed) "
    r"for task instance TaskInstanceKey\(dag_id='(.*?)', task_id='(.*?)', run_id='(.*?)', "
    r"try_number=(\d+), map_index=(-?\d+)\)"
)


@dataclass(slots=True)
class SchedulerLog:
    """Reads a growing log file; each line once.

    Attributes:
        settled_at_s: When the scheduler took the last event of a try, in seconds since the epoch.
            Whoever has read an entry removes it.
        events: How many it has taken so far.
        counts: The executor's latest summary; None: there was none yet.
    """

    path: Path
    settled_at_s: dict[TryKey, float] = field(default_factory=dict)
    events: int = 0
    counts: ExecutorCounts | None = None
    _offset: int = 0
    _rest: bytes = b""

    def read(self) -> None:
        """Take in the lines that are complete by now."""
        with self.path.open("rb") as log:
            log.seek(self._offset)
            added = log.read()
        self._offset += len(added)
        *lines, self._rest = (self._rest + added).split(b"\n")
        for line in lines:
            self._take(line.decode(errors="replace"))

    def _take(self, line: str) -> None:
        if found := _EVENT.search(line):
            at, dag_id, task_id, run_id, try_number, map_index = found.groups()
            key = TryKey(dag_id, run_id, task_id, int(map_index), int(try_number))
            self.settled_at_s[key] = datetime.fromisoformat(at).timestamp()
            self.events += 1
        elif (counts := ExecutorCounts.found_in(line)) is not None:
            self.counts = counts
