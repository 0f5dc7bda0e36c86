"""First and second tasks in environments that are copies of one snapshot of our handler.

The copies are those of the contract tests (`tests/support/snapshot.py`), against the benchmark's
API server and AWS. What Lambda itself takes to restore the memory is not in these figures.
"""

from __future__ import annotations

import json
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from lambda_executor.contract.wire import Invocation, InvocationId
from tests.bench.workers import Workers, first_line_at_s
from tests.support.snapshot import Restored, Snapshot, World

ROUNDS = 15


@dataclass(slots=True)
class Starts:
    """Seconds to the first line of a task.

    Attributes:
        restored: From the return of `/restore/next`, with the hooks after it, of the first task.
        warm: From the event to that of the next task in the same environment.
    """

    restored: list[float] = field(default_factory=list)
    warm: list[float] = field(default_factory=list)


def measure(workers: Workers, workload: Callable[[], str]) -> Starts:
    """Restore environments one after the other; `workload` gives a task that tells its start."""
    starts, world = Starts(), World()
    with tempfile.TemporaryDirectory() as folder:
        variables = {
            "AIRFLOW__CORE__EXECUTION_API_SERVER_URL": workers.server.execution_api,
            "AIRFLOW__CORE__DAGS_FOLDER": workers.server.settings["AIRFLOW__CORE__DAGS_FOLDER"],
            "AIRFLOW__LAMBDA_EXECUTOR__QUEUE_URL": f"{workers.aws_url}/000000000000/results",
            "AWS_ENDPOINT_URL": workers.aws_url,
        }
        snapshot = Snapshot(Path(folder, "template"), world, variables)
        try:
            for number in range(ROUNDS + 1):
                copy = snapshot.restore()
                restored = _first_line_at_s(copy, workload()) - copy.answer["restored_s"]
                began_s = time.time()
                warm = _first_line_at_s(copy, workload()) - began_s
                if number:  # The first one reads files that no other has read.
                    starts.restored.append(restored)
                    starts.warm.append(warm)
        finally:
            snapshot.close()
            world.close()
    return starts


def _first_line_at_s(copy: Restored, workload: str) -> float:
    invocation = Invocation.for_workload(InvocationId(f"bench-{time.time_ns()}"), workload)
    copy.send(json.loads(invocation.encode()))
    copy.receive()
    return first_line_at_s(copy.name, copy.output)
