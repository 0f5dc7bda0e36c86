"""A DAG of the benchmarks, and how long its run takes."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

from demo.installation.dag_files import DagFile
from demo.outcome.airflow_api import RUN_ID, Api, RunsError
from tests.support.waiting import until

TIMEOUT_S = 900.0


@dataclass(frozen=True, slots=True)
class BenchFile(DagFile):
    """The benchmark's own DAG file."""

    @property
    def source(self) -> Path:
        """Where the file is."""
        return Path(__file__).parent / "dags" / f"{self.name}.py"


def seconds(api: Api, dag_id: str) -> float:
    """Run a DAG; return the seconds from the start to the end of its run.

    Raises:
        AssertionError: The run failed.
    """
    api.unpause(dag_id)
    api.trigger(dag_id)

    def ended() -> dict[str, Any] | None:
        try:
            run = api.call("GET", f"/api/v2/dags/{dag_id}/dagRuns/{RUN_ID}")
        except RunsError:  # The api-server is too busy with the tasks.
            return None
        return run if run["end_date"] else None

    run = until(ended, f"the run of {dag_id} ends", TIMEOUT_S)
    assert run["state"] == "success", f"{dag_id}: {run['state']}"
    began, over = (datetime.fromisoformat(run[name]) for name in ("start_date", "end_date"))
    return round((over - began).total_seconds(), 2)
