"""The table at the end, and what it adds up to. Pure: rows in, renderables out."""

from __future__ import annotations

import statistics
from collections.abc import Collection

from rich import box
from rich.table import Table

from demo.invocations import Row

STYLES = {
    "success": "green",
    "failed": "red",
    "skipped": "magenta",
    "upstream_failed": "yellow",
    "deferred": "cyan",
}


def table(rows: Collection[Row]) -> Table:
    """One line for each invocation, and for each task that needed none."""
    made = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    for name in ("DAG", "task", "state", "try", "start"):
        made.add_column(name, overflow="fold")
    for name in ("queue-to-start ms", "run ms"):
        made.add_column(name, justify="right")
    scheduled = {row.key.dag_id for row in rows if row.key.run_id.startswith("scheduled")}
    for row in sorted(rows, key=_order):
        one = row.invocation
        made.add_row(
            row.key.dag_id + (f" ({_kind(row)})" if row.key.dag_id in scheduled else ""),
            row.key.task_id + (f" [{row.key.map_index}]" if row.key.map_index >= 0 else ""),
            f"[{STYLES[row.state]}]{row.state}[/]" if row.state in STYLES else row.state,
            str(row.key.try_number) if one else "-",
            ("cold" if one.cold else "warm") if one else "-",
            _ms(one.queue_to_start_ms) if one else "-",
            _ms(one.run_ms) if one else "-",
        )
    return made


def summary(rows: Collection[Row], wall_s: float) -> list[str]:
    """What the table adds up to."""
    invocations = [row.invocation for row in rows if row.invocation]
    warm = [one.run_ms for one in invocations if not one.cold]
    waited = [
        one.queue_to_start_ms
        for one in invocations
        if not one.cold and one.queue_to_start_ms is not None
    ]
    cold = len(invocations) - len(warm)
    lines = [f"{len(invocations)} invocations, {cold} of them cold starts"]
    if warm:
        lines.append(f"median warm run: {statistics.median(warm):.0f} ms")
    if waited:
        lines.append(f"median warm queue-to-start: {statistics.median(waited):.0f} ms")
    lines.append(f"wall time of the DAG runs: {wall_s:.1f} s")
    return lines


def _order(row: Row) -> tuple[object, ...]:
    return (row.key, row.invocation.started_at_s if row.invocation else 0.0)


def _kind(row: Row) -> str:
    return row.key.run_id.partition("__")[0]


def _ms(value: float | None) -> str:
    return "-" if value is None else f"{value:.0f}"
