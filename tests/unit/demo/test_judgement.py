"""The demo's pure parts: joining log lines with tries, expectations, leftovers."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from demo.installation.dag_files import ON_FUNCTIONS, DagFile, stage
from demo.installation.leftovers import Resource, describe, left
from demo.outcome import expectations
from demo.outcome.airflow_api import Run, Try
from demo.outcome.tries import Row, join, parse
from tests.support.tries import KEY, invocation, line, logged, ran

SECOND = replace(KEY, try_number=2)
FILE = DagFile("dag", ("dag",))


def unexpected(files: list[DagFile], runs: list[Run], rows: list[Row]) -> list[str]:
    """The differences found, with empty queues."""
    return expectations.unexpected(files, runs, rows, {"ResultsQueueUrl": 0})


def states(rows: list[Row]) -> list[str]:
    """The state column."""
    return [row.state for row in rows]


# --- log lines ---


@pytest.mark.parametrize(
    ("log_group", "target"),
    [
        ("/aws/lambda/airflow-lambda-local", "function"),
        ("/aws/lambda-microvms/airflow-lambda-local-vm", "MicroVM"),
        ("/aws/batch/airflow-lambda-local-long", "Batch"),
        ("/aws/ecs/airflow-lambda-local-huge", "ECS"),
    ],
)
def test_the_log_group_tells_what_ran_an_invocation(log_group: str, target: str) -> None:
    """Its name has the service."""
    found = parse(logged(line(), log_group))
    assert found is not None
    assert found.target == target


def test_a_settled_line_becomes_an_invocation() -> None:
    """The invocation has the line's try and measured times."""
    assert parse(logged(line())) == invocation()


def test_an_unmapped_task_has_index_minus_one_in_either_spelling() -> None:
    """A missing map index equals Airflow's -1."""
    assert parse(logged(line(map_index=None))) == invocation()


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
    assert parse(logged(message)) is None


@pytest.mark.parametrize(
    ("cold", "restore_ms", "start"),
    [(True, None, "cold"), (True, 12.5, "restored"), (False, None, "warm")],
)
def test_a_start_is_cold_restored_or_warm(cold: bool, restore_ms: float | None, start: str) -> None:
    """The first invocation in a restored environment is told apart from that in a new one."""
    found = parse(logged(line(cold=cold, restore_ms=restore_ms)))
    assert found is not None
    assert found.start == start


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
        "dag.task did not leave its target to wait"
    ]


def test_a_deferral_is_not_expected_of_a_task_that_begins_late() -> None:
    """What it waits for has come by then: the machine is slow, and nothing is wrong."""
    defers = replace(FILE, deferred=frozenset({"task"}), waits_s=30.0)
    runs = [Run("dag", "demo", "success")]
    late = join([ran()], [invocation(queue_to_start_ms=16_000.0)])
    assert unexpected([defers], runs, late) == []
    in_time = join([ran()], [invocation(queue_to_start_ms=14_000.0)])
    assert unexpected([defers], runs, in_time) == ["dag.task did not leave its target to wait"]


def test_a_try_that_ran_elsewhere_is_unexpected() -> None:
    """A log of some target must have an invocation for every try that ran."""
    (problem,) = unexpected([FILE], [Run("dag", "demo", "success")], join([ran()], []))
    assert problem.endswith("ran, but no target's log has an invocation of it")


def test_an_invocation_that_did_not_complete_is_unexpected() -> None:
    """Duplicates, crashes and rejections are reported even if the task succeeded."""
    rows = join([ran()], [invocation(outcome="crashed")])
    (problem,) = unexpected([FILE], [Run("dag", "demo", "success")], rows)
    assert problem.endswith("ended as crashed")


def test_a_try_that_its_target_stops_is_expected_where_the_dag_file_says_so() -> None:
    """Only a try that is not the last one may be stopped, and then it must be."""
    stopped = replace(FILE, tries={"task": 2}, stopped=frozenset({"task"}))
    runs = [Run("dag", "demo", "success")]
    tries = [ran(KEY, "up_for_retry"), ran(SECOND)]
    rows = join(tries, [invocation(outcome="deadline"), invocation(SECOND)])
    assert unexpected([stopped], runs, rows) == []
    rows = join(tries, [invocation(), invocation(SECOND, outcome="deadline")])
    first, second = unexpected([stopped], runs, rows)
    assert first.endswith("ended as completed")
    assert second.endswith("ended as deadline")


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


# --- the DAG folder ---


def test_the_examples_are_copied_unchanged(tmp_path: Path) -> None:
    """Every DAG file exists at its source and is copied byte for byte."""
    stage(ON_FUNCTIONS, tmp_path)
    assert sum(file.origin is not None for file in ON_FUNCTIONS) >= 6
    for file in ON_FUNCTIONS:
        assert (tmp_path / f"{file.name}.py").read_bytes() == file.source.read_bytes()
