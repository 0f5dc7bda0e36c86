"""Compares DAG runs and tries with what the DAG files expect. Pure."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping

from demo.installation.dag_files import DagFile
from demo.outcome.airflow_api import Run
from demo.outcome.tries import Row

#: The part of `waits_s` after which a task may begin too late: what is measured begins when the
#: executor queues it, and ends before it runs.
_IN_TIME = 0.5


def unexpected(
    files: Iterable[DagFile],
    runs: Collection[Run],
    rows: Collection[Row],
    messages_left: Mapping[str, int],
) -> list[str]:
    """Describe every difference, one sentence each; empty: there is none."""
    found = []
    for file in files:
        for dag_id in file.dag_ids:
            found += _of_runs(file, dag_id, runs)
        found += _of_tries(file, rows)
    stopped = {(dag_id, task) for file in files for dag_id in file.dag_ids for task in file.stopped}
    found += _of_invocations(rows, stopped)
    return found + [
        f"the executor left {number} messages in {queue}"
        for queue, number in messages_left.items()
        if number
    ]


def lacks_invocation(row: Row) -> bool:
    """Whether Airflow says that this try ran, but no target's log has an invocation of it."""
    return row.was_run and row.invocation is None


def _of_runs(file: DagFile, dag_id: str, runs: Collection[Run]) -> list[str]:
    mine = [run for run in runs if run.dag_id == dag_id]
    if not mine:
        return [f"{dag_id} has no DAG run"]
    return [
        f"{dag_id} ({run.run_id}) ended as {run.state}, expected is {file.ends}"
        for run in mine
        if run.state != file.ends
    ]


def _of_tries(file: DagFile, rows: Collection[Row]) -> list[str]:
    mine = [row for row in rows if row.key.dag_id in file.dag_ids]
    found = []
    for task_id, tries in file.tries.items():
        took = max((row.key.try_number for row in mine if row.key.task_id == task_id), default=0)
        if took != tries:
            found.append(f"{file.name}.{task_id} took {took} tries, expected are {tries}")
    deferred = {row.key.task_id for row in mine if row.state == "deferred"}
    found += [
        f"{file.name}.{task_id} did not leave its target to wait"
        for task_id in sorted(file.deferred - deferred - _late(file, mine))
    ]
    return found


def _late(file: DagFile, rows: Collection[Row]) -> set[str]:
    """The tasks that a slow machine may have begun after what they wait for."""
    if file.waits_s is None:
        return set()
    limit_ms = file.waits_s * 1000 * _IN_TIME
    return {
        row.key.task_id
        for row in rows
        if row.invocation and (row.invocation.queue_to_start_ms or 0) > limit_ms
    }


def _of_invocations(rows: Collection[Row], stopped: Collection[tuple[str, str]]) -> list[str]:
    unlogged = [
        f"{row.key} ran, but no target's log has an invocation of it"
        for row in rows
        if lacks_invocation(row)
    ]
    incomplete = [
        f"an invocation of {row.key} ended as {row.invocation.outcome}"
        for row in rows
        if row.invocation and row.invocation.outcome not in _outcomes(row, stopped)
    ]
    unknown = [f"Airflow does not know {row.key}" for row in rows if row.state == "unknown"]
    return unlogged + incomplete + unknown


def _outcomes(row: Row, stopped: Collection[tuple[str, str]]) -> set[str]:
    """How an invocation of a try may end."""
    is_stopped = (row.key.dag_id, row.key.task_id) in stopped and row.state != "success"
    return {"deadline"} if is_stopped else {"completed"}
