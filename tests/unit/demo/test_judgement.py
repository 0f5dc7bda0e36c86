"""The demo's pure parts: joining log lines with tries, expectations, leftovers, the table."""

from __future__ import annotations

import io
import json
import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from demo.installation.dag_files import ALL, DagFile, stage
from demo.installation.leftovers import Resource, describe, left
from demo.outcome import expectations, table
from demo.outcome.airflow_api import Run, Try, TryKey
from demo.outcome.tries import LoggedInvocation, Row, join, parse
from demo.screen import Screen

KEY = TryKey(dag_id="dag", run_id="demo", task_id="task", map_index=-1, try_number=1)
SECOND = replace(KEY, try_number=2)
FILE = DagFile("dag", ("dag",))


def line(**changes: Any) -> str:
    """The log line of a settled invocation."""
    fields = {
        "timestamp": "2030-01-01T00:00:00.000+00:00",
        "level": "info",
        "event": "invocation settled",
        "dag_id": "dag",
        "task_id": "task",
        "run_id": "demo",
        "map_index": -1,
        "try_number": 1,
        "invocation_id": "5",
        "request_id": "6",
        "outcome": "completed",
        "return_code": 0,
        "reason": "",
        "cold": False,
        "init_ms": None,
        "restore_ms": None,
        "run_ms": 50.0,
        "queue_to_start_ms": 20.0,
        "started_at_s": 100.0,
    }
    return json.dumps(fields | changes)


def invocation(key: TryKey = KEY, **changes: Any) -> LoggedInvocation:
    """A completed warm invocation."""
    made = LoggedInvocation(
        key, "completed", "warm", queue_to_start_ms=20.0, run_ms=50.0, started_at_s=100.0
    )
    return replace(made, **changes)


def ran(key: TryKey = KEY, state: str = "success") -> Try:
    """A try that Airflow says ran on some host."""
    return Try(key, state, hostname="function")


def unexpected(files: list[DagFile], runs: list[Run], rows: list[Row]) -> list[str]:
    """The differences found, with empty queues."""
    return expectations.unexpected(files, runs, rows, {"ResultsQueueUrl": 0})


def states(rows: list[Row]) -> list[str]:
    """The state column."""
    return [row.state for row in rows]


# --- log lines ---


def test_a_settled_line_becomes_an_invocation() -> None:
    """The invocation has the line's try and measured times."""
    assert parse(line()) == invocation()


def test_an_unmapped_task_has_index_minus_one_in_either_spelling() -> None:
    """A missing map index equals Airflow's -1."""
    assert parse(line(map_index=None)) == invocation()


@pytest.mark.parametrize(
    "message",
    [
        "START RequestId: 6 Version: 1",
        "[]",
        line(event="task started"),
        line(dag_id=None, task_id=None, run_id=None, map_index=None, try_number=None),
    ],
    ids=["not JSON", "not an object", "another event", "another workload"],
)
def test_other_lines_are_passed_over(message: str) -> None:
    """Lines that do not settle an invocation of a task are ignored."""
    assert parse(message) is None


# --- joining ---


def test_each_try_gets_its_own_invocation() -> None:
    """A retry is another row, with its own state and numbers."""
    rows = join(
        [ran(KEY, "failed"), ran(SECOND)],
        [invocation(SECOND, run_ms=7.0), invocation(run_ms=9.0)],
    )
    assert [(row.key.try_number, row.state, row.invocation) for row in rows] == [
        (1, "failed", invocation(run_ms=9.0)),
        (2, "success", invocation(SECOND, run_ms=7.0)),
    ]


def test_a_try_that_left_and_came_back_is_deferred_first() -> None:
    """Of two invocations of one try, the earlier is the deferral, in any order of the log."""
    later, earlier = invocation(started_at_s=130.0), invocation(started_at_s=100.0)
    rows = join([ran()], [later, earlier])
    assert [(row.state, row.invocation) for row in rows] == [
        ("deferred", earlier),
        ("success", later),
    ]


def test_a_duplicate_says_nothing_about_the_state() -> None:
    """A second delivery is shown as `duplicate` and does not end a deferral."""
    rows = join([ran()], [invocation(), invocation(outcome="duplicate", started_at_s=101.0)])
    assert states(rows) == ["success", "duplicate"]


def test_a_task_that_needed_no_function_has_a_row() -> None:
    """Skipped tasks and empty operators are shown without an invocation."""
    (row,) = join([Try(KEY, "skipped", hostname="")], [])
    assert (row.state, row.invocation, row.was_run) == ("skipped", None, False)


def test_an_unknown_invocation_is_not_dropped() -> None:
    """An invocation that Airflow does not know is shown as `unknown`."""
    assert states(join([], [invocation()])) == ["unknown"]


# --- expected ends ---


def test_nothing_is_unexpected_when_all_is_well() -> None:
    """A successful run with one completed invocation is as expected."""
    assert unexpected([FILE], [Run("dag", "demo", "success")], join([ran()], [invocation()])) == []


def test_an_expected_failure_is_fine_and_its_success_is_not() -> None:
    """A DAG that must fail is unexpected if it succeeds."""
    fails = replace(FILE, ends="failed")
    assert unexpected([fails], [Run("dag", "demo", "failed")], []) == []
    assert unexpected([fails], [Run("dag", "demo", "success")], []) == [
        "dag (demo) ended as success, expected is failed"
    ]


def test_a_dag_without_a_run_is_unexpected() -> None:
    """A DAG without a run is reported."""
    assert unexpected([FILE], [], []) == ["dag has no DAG run"]


def test_a_retry_must_have_happened() -> None:
    """A task that fails once takes exactly two tries."""
    retries = replace(FILE, tries={"task": 2})
    runs = [Run("dag", "demo", "success")]
    twice = join([ran(KEY, "failed"), ran(SECOND)], [invocation(), invocation(SECOND)])
    assert unexpected([retries], runs, twice) == []
    assert unexpected([retries], runs, join([ran()], [invocation()])) == [
        "dag.task took 1 tries, expected are 2"
    ]


def test_a_deferral_must_have_happened() -> None:
    """A task that should be deferred must have been deferred."""
    defers = replace(FILE, deferred=frozenset({"task"}))
    runs = [Run("dag", "demo", "success")]
    came_back = join([ran()], [invocation(), invocation(started_at_s=130.0)])
    assert unexpected([defers], runs, came_back) == []
    assert unexpected([defers], runs, join([ran()], [invocation()])) == [
        "dag.task did not leave the function to wait"
    ]


def test_a_try_that_ran_elsewhere_is_unexpected() -> None:
    """The function's log must have an invocation for every try that ran."""
    (problem,) = unexpected([FILE], [Run("dag", "demo", "success")], join([ran()], []))
    assert problem.endswith("no invocation in the function's log tells of it")


def test_an_invocation_that_did_not_complete_is_unexpected() -> None:
    """Duplicates, crashes and rejections are reported even if the task succeeded."""
    rows = join([ran()], [invocation(outcome="crashed")])
    (problem,) = unexpected([FILE], [Run("dag", "demo", "success")], rows)
    assert problem.endswith("ended as crashed")


def test_a_result_that_nobody_took_is_unexpected() -> None:
    """Messages left in a queue are reported even if every task succeeded."""
    rows = join([ran()], [invocation()])
    runs = [Run("dag", "demo", "success")]
    assert expectations.unexpected([FILE], runs, rows, {"ResultsQueueUrl": 2}) == [
        "the executor left 2 messages in ResultsQueueUrl"
    ]


# --- leftovers ---


def test_only_what_came_and_stayed_is_left() -> None:
    """Only resources that are new and still exist are left behind."""
    bootstrap = Resource("cloudformation", "Stacks", "CDKToolkit")
    queue = Resource("sqs", "QueueUrls", "http://127.0.0.1/queue")
    assert left({bootstrap}, {bootstrap}) == []
    assert left({bootstrap}, {bootstrap, queue}) == [queue]
    assert left({bootstrap, queue}, {bootstrap}) == []


def test_the_last_line_names_what_is_left() -> None:
    """Remaining resources are named, or none are left."""
    queue = Resource("sqs", "QueueUrls", "http://127.0.0.1/queue")
    assert describe([]).startswith("Nothing is left but")
    assert describe([queue]) == "Left behind: sqs QueueUrls http://127.0.0.1/queue"


# --- screen and table ---


def piped() -> tuple[Screen, io.StringIO]:
    """A screen that is not a terminal."""
    output = io.StringIO()
    return Screen(Console(file=output, width=160, highlight=False)), output


def test_the_table_has_a_line_for_each_invocation_and_no_ansi_in_a_pipe() -> None:
    """The table shows map indices and cold starts, without colours in a pipe."""
    mapped = replace(KEY, map_index=7)
    rows = join(
        [ran(), ran(mapped, "failed"), Try(replace(KEY, task_id="empty"), "skipped", "")],
        [invocation(start="cold", queue_to_start_ms=None), invocation(mapped)],
    )
    screen, output = piped()
    screen.show(table.table(rows))
    cells = [text.split() for text in output.getvalue().splitlines()]
    assert ["dag", "task", "success", "1", "cold", "-", "50"] in cells
    assert ["dag", "task", "[7]", "failed", "1", "warm", "20", "50"] in cells
    assert ["dag", "empty", "skipped", "-", "-", "-", "-"] in cells
    assert "\x1b" not in output.getvalue()


@pytest.mark.parametrize(
    ("cold", "restore_ms", "start"),
    [(True, None, "cold"), (True, 12.5, "restored"), (False, None, "warm")],
)
def test_a_start_is_cold_restored_or_warm(cold: bool, restore_ms: float | None, start: str) -> None:
    """The first invocation in a restored environment is told apart from that in a new one."""
    found = parse(line(cold=cold, restore_ms=restore_ms))
    assert found is not None
    assert found.start == start


def test_a_run_of_the_schedule_is_marked_and_explained() -> None:
    """Only rows of scheduled runs are marked, and a caption explains the mark."""
    scheduled = replace(KEY, run_id="scheduled__2030-01-01T00:00:00+00:00")
    screen, output = piped()
    screen.show(table.table(join([ran(), ran(scheduled)], [])))
    cells = [text.split() for text in output.getvalue().splitlines()]
    assert ["dag", "task", "success", "-", "-", "-", "-"] in cells
    assert ["dag", "*", "task", "success", "-", "-", "-", "-"] in cells
    assert "* a run of the DAG's own schedule" in output.getvalue()
    unmarked, without = piped()
    unmarked.show(table.table(join([ran()], [])))
    assert "*" not in without.getvalue()


def test_the_median_is_of_warm_runs_alone() -> None:
    """Cold starts are counted, but not in the medians."""
    keys = [replace(KEY, map_index=index) for index in range(3)]
    rows = join(
        [ran(key) for key in keys],
        [
            invocation(keys[0], start="cold", run_ms=9000.0, queue_to_start_ms=9000.0),
            invocation(keys[1], run_ms=10.0, queue_to_start_ms=1.0),
            invocation(keys[2], run_ms=30.0, queue_to_start_ms=3.0),
        ],
    )
    assert table.summary(rows, wall_s=4.2, concurrency=4) == [
        "3 invocations: 1 cold, 0 restored, 2 warm",
        "median warm run: 20 ms",
        "median warm queue-to-start: 2 ms",
        (
            "queue-to-start includes the wait for a free execution environment: the function's "
            "reserved concurrency is 4, two for each core"
        ),
        "wall time of the DAG runs: 4.2 s",
    ]


def test_a_phase_is_timed_without_ansi() -> None:
    """In a pipe, a phase is two plain lines."""
    screen, output = piped()
    with screen.phase("Doing [it]"):
        pass
    assert output.getvalue().count("Doing [it]") == 2
    assert re.search(r"Doing \[it\]: done in \d+\.\d s", output.getvalue())
    assert "\x1b" not in output.getvalue()


# --- the DAG folder ---


def test_the_examples_are_copied_unchanged(tmp_path: Path) -> None:
    """Every DAG file exists at its source and is copied byte for byte."""
    stage(ALL, tmp_path)
    assert sum(file.origin is not None for file in ALL) >= 6
    for file in ALL:
        assert (tmp_path / f"{file.name}.py").read_bytes() == file.source.read_bytes()
