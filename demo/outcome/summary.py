"""The summary of the tries for a terminal: a line for each DAG, and totals. Pure."""

from __future__ import annotations

import statistics
from collections import Counter
from collections.abc import Collection, Mapping
from typing import get_args

from rich.table import Table
from rich.text import Text

from demo.outcome.airflow_api import Run
from demo.outcome.tries import FUNCTION, LoggedInvocation, Row, Start

STYLES = {"success": "green", "failed": "red"}
#: How an execution environment of a function began, in the order of its columns.
STARTS: tuple[Start, ...] = get_args(Start)
#: The columns after the DAG's and their widths: with them the longest id of the demo's DAGs fits
#: into 80 characters; a longer id is folded.
_COLUMNS: Mapping[str, int] = {
    "ended": 7,
    "tries": 5,
    **{str(name): len(name) for name in STARTS},
    "jobs": 4,
}
_GAP = 2
_LEAST_OF_DAG = 16


def by_dag(runs: Collection[Run], rows: Collection[Row], width: int) -> Table:
    """One line for each DAG: how its runs ended, its tries, and what ran them.

    Args:
        runs: All runs of all DAGs.
        rows: All tries.
        width: What there is room for, in characters.
    """
    dag_ids = sorted({run.dag_id for run in runs} | {row.key.dag_id for row in rows})
    room = width - sum(_GAP + each for each in _COLUMNS.values())
    dag_width = max(min(room, max(map(len, dag_ids), default=0)), _LEAST_OF_DAG)
    made = Table(box=None, padding=(0, _GAP, 0, 0), pad_edge=False)
    made.add_column("DAG", width=dag_width, overflow="fold")
    for name, column_width in _COLUMNS.items():
        made.add_column(
            name,
            width=column_width,
            overflow="fold",
            justify="left" if name == "ended" else "right",
        )
    for dag_id in dag_ids:
        mine = [row for row in rows if row.key.dag_id == dag_id]
        invocations = [row.invocation for row in mine if row.invocation]
        starts = Counter(one.start for one in invocations if one.target == FUNCTION)
        jobs = sum(one.target != FUNCTION for one in invocations)
        made.add_row(
            Text(dag_id),
            _ended([run.state for run in runs if run.dag_id == dag_id]),
            str(len({row.key for row in mine})),
            *[_count(starts[name]) for name in STARTS],
            _count(jobs),
        )
    return made


def totals(rows: Collection[Row], wall_s: float, concurrency: int) -> list[str]:
    """Counts of all invocations, and the medians of functions, at most 80 characters a line.

    Args:
        rows: What is counted.
        wall_s: The time of all DAG runs.
        concurrency: The reserved one of the function `default`.
    """
    invocations = [row.invocation for row in rows if row.invocation]
    functions = [one for one in invocations if one.target == FUNCTION]
    starts = Counter(one.start for one in functions)
    counts = ", ".join(f"{starts[kind]} {kind}" for kind in STARTS)
    lines = [f"{len(functions)} invocations of functions: {counts}"]
    lines += _medians([one for one in functions if one.start == "warm"])
    jobs = Counter(one.target for one in invocations if one.target != FUNCTION)
    if jobs:
        kinds = ", ".join(f"{number} {target}" for target, number in sorted(jobs.items()))
        lines.append(f"{jobs.total()} jobs: {kinds}")
    lines.append(f"the function default has {concurrency} environments, two for each core")
    lines.append(f"wall time of the DAG runs: {wall_s:.1f} s")
    return lines


def _medians(warm: Collection[LoggedInvocation]) -> list[str]:
    waited = [one.queue_to_start_ms for one in warm if one.queue_to_start_ms is not None]
    found = {
        "wait in the queue": waited,
        "run": [one.run_ms for one in warm],
    }
    return [
        f"median {name} of warm functions: {statistics.median(values):.0f} ms"
        for name, values in found.items()
        if values
    ]


def _ended(states: Collection[str]) -> Text:
    """How the runs of one DAG ended: the state of all, or `mixed`."""
    state = next(iter(states)) if len(set(states)) == 1 else "mixed" if states else "-"
    return Text(state, style=STYLES.get(state, ""))


def _count(number: int) -> str:
    return str(number) if number else "-"
