"""Task instances in the state in which the scheduler hands them to an executor.

`python -m tests.bench.queued <folder of DAGs> <dag id> <runs>` makes so many runs of a DAG in the
database that Airflow is configured for, queues every task, and prints their workloads with tokens
of Airflow's own, one JSON a line. Run while no scheduler does.
"""

from __future__ import annotations

import sys
from pathlib import Path

from airflow._shared.timezones import timezone
from airflow.dag_processing.bundles.manager import DagBundlesManager
from airflow.dag_processing.dagbag import BundleDagBag, sync_bag_to_db
from airflow.executors.base_executor import BaseExecutor
from airflow.executors.workloads import ExecuteTask
from airflow.models.serialized_dag import SerializedDagModel
from airflow.utils.session import create_session
from airflow.utils.state import DagRunState, TaskInstanceState
from airflow.utils.types import DagRunTriggeredByType, DagRunType

BUNDLE = "dags-folder"


def main(folder: Path, dag_id: str, runs: int) -> None:
    """Make the runs, print the workloads."""
    DagBundlesManager().sync_bundles_to_db()  # type: ignore[no-untyped-call]
    bag = BundleDagBag(folder, bundle_path=folder, bundle_name=BUNDLE)
    sync_bag_to_db(bag, BUNDLE, None)
    dag = SerializedDagModel.get_dag(dag_id)
    if dag is None:
        raise SystemExit(f"no DAG {dag_id!r} in {folder}: {bag.import_errors}")
    generator = BaseExecutor().jwt_generator
    with create_session() as session:
        for number in range(runs):
            run = dag.create_dagrun(
                run_id=f"run_{number}",
                run_after=timezone.utcnow(),
                run_type=DagRunType.MANUAL,
                triggered_by=DagRunTriggeredByType.TEST,
                state=DagRunState.RUNNING,
                session=session,
            )
            for instance in run.get_task_instances(session=session):
                instance.state = TaskInstanceState.QUEUED
                instance.try_number = 1
                session.flush()
                workload = ExecuteTask.make(instance, generator=generator)
                print(workload.model_dump_json())  # noqa: T201 - the result


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2], int(sys.argv[3]))
