"""The table of tries and its summary. Pure."""

from __future__ import annotations

import statistics
from collections import Counter
from collections.abc import Collection

from rich import box
from rich.table import Table

from demo.outcome.tries import Row

STYLES = {
    "success": "green",
    "failed": "red",
    "skipped": "magenta",
    "upstream_failed": "yellow",
    "deferred": "cyan",
}
_SCHEDULED = "*"


def table(rows: Collection[Row]) -> Table:
    """One line for each invocation, and for each try that needed none."""
    made = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    for name in ("DAG", "task", "state", "try", "start"):
        made.add_column(name, overflow="fold")
    for name in ("queue-to-start ms", "run ms"):
        made.add_column(name, justify="right")
    if any(map(_is_scheduled, rows)):
        made.caption = f"{_SCHEDULED} a run of the DAG's own schedule, next to the one we triggered"
        made.caption_justify = "left"
    for row in sorted(rows, key=_order):
        one = row.invocation
        made.add_row(
            row.key.dag_id + (f" {_SCHEDULED}" if _is_scheduled(row) else ""),
            row.key.task_id + (f" [{row.key.map_index}]" if row.key.map_index >= 0 else ""),
            f"[{STYLES[row.state]}]{row.state}[/]" if row.state in STYLES else row.state,
            str(row.key.try_number) if one else "-",
            one.start if one else "-",
            _ms(one.queue_to_start_ms) if one else "-",
            _ms(one.run_ms) if one else "-",
        )
    return made


def summary(rows: Collection[Row], wall_s: float, concurrency: int) -> list[str]:
    """Totals and medians; `concurrency` is the function's reserved concurrency."""
    invocations = [row.invocation for row in rows if row.invocation]
    warm = [one for one in invocations if one.start == "warm"]
    waited = [one.queue_to_start_ms for one in warm if one.queue_to_start_ms is not None]
    starts = Counter(one.start for one in invocations)
    counts = ", ".join(f"{starts[kind]} {kind}" for kind in ("cold", "restored", "warm"))
    lines = [f"{len(invocations)} invocations: {counts}"]
    if warm:
        median = statistics.median(one.run_ms for one in warm)
        lines.append(f"median warm run: {median:.0f} ms")
    if waited:
        lines.append(f"median warm queue-to-start: {statistics.median(waited):.0f} ms")
    lines.append(
        "queue-to-start includes the wait for a free execution environment: the function's "
        f"reserved concurrency is {concurrency}, two for each core"
    )
    lines.append(f"wall time of the DAG runs: {wall_s:.1f} s")
    return lines


def _order(row: Row) -> tuple[object, ...]:
    return (row.key, row.invocation.started_at_s if row.invocation else 0.0)


def _is_scheduled(row: Row) -> bool:
    return row.key.run_id.startswith("scheduled")


def _ms(value: float | None) -> str:
    return "-" if value is None else f"{value:.0f}"
