"""Makes the report of the demo's tries and of how it ran: one HTML page that loads nothing. Pure.

Jinja escapes every value. Without its script the page only lacks the filter, the zoom and the arrow
keys.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined

from demo.outcome.report.timeline import timeline
from demo.outcome.tries import FUNCTION, Row

#: What each kind of start means; the page draws each in its own colour and height.
KINDS: Mapping[str, str] = {
    "cold": "the function's execution environment began for it",
    "restored": "its environment was restored from a snapshot for it",
    "warm": "its environment was there before",
    "job": "a job of Batch or ECS, or a MicroVM: always a process of its own",
}
#: States of a try that did not do what it should; `up_for_retry` has another try.
_FAILED = frozenset({"failed", "up_for_retry", "unknown", "duplicate"})
_PAGES = Environment(
    loader=FileSystemLoader(Path(__file__).parent),
    autoescape=True,
    undefined=StrictUndefined,
    trim_blocks=True,
    lstrip_blocks=True,
)


@dataclass(frozen=True, slots=True)
class Course:
    """How the demo ran.

    Attributes:
        command: What a person types to run it again.
        made_at: When, as a date for people.
        versions: Of what it ran with, by name.
        phases: Each step and its seconds.
        totals: The lines of the terminal's summary.
        unexpected: What did not end as expected; empty: nothing.
    """

    command: str
    made_at: str
    versions: Mapping[str, str]
    phases: Sequence[tuple[str, float]]
    totals: Sequence[str]
    unexpected: Sequence[str]


def page(rows: Sequence[Row], course: Course) -> str:
    """The whole page.

    Args:
        rows: All tries and their invocations.
        course: How the demo ran.
    """
    rows = sorted(rows, key=_order)
    tries = [_facts(row) for row in rows]
    drawn = timeline(rows)
    environments = {
        bar.number: lane.environment
        for target in drawn.targets
        for lane in target.lanes
        for bar in lane.bars
    }
    return _PAGES.get_template("page.html").render(
        course=course,
        kinds=KINDS,
        timeline=drawn,
        tries=tries,
        environments=environments,
        dag_ids=sorted({row.key.dag_id for row in rows}),
        seconds=sum(took_s for _, took_s in course.phases),
        data={
            "command": course.command,
            "made_at": course.made_at,
            "versions": dict(course.versions),
            "phases": [{"name": name, "seconds": round(s, 1)} for name, s in course.phases],
            "tries": tries,
        },
    )


def _facts(row: Row) -> dict[str, Any]:
    """One row of the table, as the page and its data have it."""
    key, one = row.key, row.invocation
    facts = {
        "dag": key.dag_id,
        "run": key.run_id,
        "task": key.task_id + (f" [{key.map_index}]" if key.map_index >= 0 else ""),
        "try": key.try_number,
        "state": row.state,
        "is_failed": row.state in _FAILED or (one is not None and one.outcome != "completed"),
        "is_retry": key.try_number > 1,
    }
    if one is None:
        return facts | dict.fromkeys(
            (
                "target",
                "name",
                "environment",
                "start",
                "outcome",
                "started_at_s",
                "wait_ms",
                "run_ms",
            )
        )
    return facts | {
        "target": one.target,
        "name": one.name,
        "environment": one.environment,
        "start": one.start if one.target == FUNCTION else "job",
        "outcome": one.outcome,
        "started_at_s": one.started_at_s,
        "wait_ms": one.queue_to_start_ms,
        "run_ms": one.run_ms,
    }


def _order(row: Row) -> tuple[object, ...]:
    """By DAG, the runs of its schedule last, then by try and time."""
    is_scheduled = row.key.run_id.startswith("scheduled")
    return (
        row.key.dag_id,
        is_scheduled,
        row.key,
        row.invocation.started_at_s if row.invocation else 0.0,
    )
