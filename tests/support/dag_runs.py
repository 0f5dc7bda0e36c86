"""Runs the DAGs of a folder in a process of their own, with their operators, sensors and triggers.

`dag.test()` runs the tasks one after the other, without scheduler and executor; a deferred task's
trigger runs in the same process. All else is real: the DAG processor's view of the file, templates,
XComs, and the AWS calls, which go to the embedded AWS.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

#: Begins the last line of the process's output.
_RESULT = "result of the DAG runs: "


@dataclass(frozen=True)
class DagRun:
    """How a run ended.

    Attributes:
        tasks: The states of each task by its id; a mapped task has several.
        returned: What each task returned, likewise, if anything.
    """

    state: str
    tasks: Mapping[str, list[str]]
    returned: Mapping[str, list[Any]]


@dataclass(frozen=True)
class DagRuns:
    """The runs by name, and the log of all tasks."""

    runs: Mapping[str, DagRun]
    log: str

    def __getitem__(self, name: str) -> DagRun:
        """One of the runs."""
        return self.runs[name]


def run_dags(
    folder: Path,
    home: Path,
    variables: Mapping[str, str],
    parameters: Mapping[str, Mapping[str, Any]] | None = None,
) -> DagRuns:
    """Run each DAG of a folder, in the order of their ids, with these environment variables.

    A run has the name of its DAG. With `parameters`, the folder has one DAG, which runs once for
    each of them, and a run has the name of its parameters.
    """
    done = subprocess.run(
        [sys.executable, "-m", "tests.support.dag_runs", json.dumps(parameters)],
        env={
            **os.environ,
            "AIRFLOW_HOME": str(home),
            "AIRFLOW__CORE__DAGS_FOLDER": str(folder),
            "AIRFLOW__DATABASE__SQL_ALCHEMY_CONN": f"sqlite:///{home / 'airflow.db'}",
            "AIRFLOW__LOGGING__BASE_LOG_FOLDER": str(home / "logs"),
            **variables,
        },
        capture_output=True,
        text=True,
        check=False,
    )
    *log, last = done.stdout.splitlines() or [""]
    assert last.startswith(_RESULT), done.stdout + done.stderr
    runs = json.loads(last.removeprefix(_RESULT))
    return DagRuns({name: DagRun(**run) for name, run in runs.items()}, "\n".join(log))


def _main(parameters: dict[str, Any] | None) -> None:
    from airflow.dag_processing.dagbag import DagBag  # noqa: PLC0415
    from airflow.utils.db import initdb  # noqa: PLC0415

    initdb()
    bag = DagBag(os.environ["AIRFLOW__CORE__DAGS_FOLDER"], bundle_name="dags-folder")
    assert not bag.import_errors, bag.import_errors
    if parameters is None:
        runs = {dag_id: _run(dag, {}) for dag_id, dag in sorted(bag.dags.items())}
    else:
        (dag,) = bag.dags.values()
        runs = {name: _run(dag, conf) for name, conf in parameters.items()}
    sys.stdout.write(f"\n{_RESULT}{json.dumps(runs)}\n")


def _run(dag: Any, conf: dict[str, Any]) -> dict[str, Any]:
    from airflow.models.xcom import XComModel  # noqa: PLC0415
    from airflow.utils.session import create_session  # noqa: PLC0415
    from sqlalchemy import select  # noqa: PLC0415

    run = dag.test(run_conf=conf)
    tasks: dict[str, list[str]] = {}
    for task in run.get_task_instances():
        tasks.setdefault(task.task_id, []).append(str(task.state))
    returned: dict[str, list[Any]] = {}
    query = select(XComModel).where(
        XComModel.dag_id == dag.dag_id,
        XComModel.run_id == run.run_id,
        XComModel.key == "return_value",
    )
    with create_session() as session:
        for xcom in session.scalars(query.order_by(XComModel.map_index)):
            returned.setdefault(xcom.task_id, []).append(xcom.value)
    return {"state": str(run.state), "tasks": tasks, "returned": returned}


if __name__ == "__main__":
    _main(json.loads(sys.argv[1]))
