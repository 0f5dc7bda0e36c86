"""A line about an invocation has the fields of the function's log."""

from __future__ import annotations

from types import SimpleNamespace
from typing import NamedTuple

from lambda_executor.contract.log_lines import CONTEXT, about


class TaskKey(NamedTuple):
    """As much of Airflow's as is read, and more."""

    dag_id: str = "dag"
    task_id: str = "task"
    run_id: str = "run"
    try_number: int = 2
    map_index: int = -1
    other: str = "not shown"


def test_a_task_is_named_by_its_five_keys() -> None:
    """Under the names that the handler uses."""
    fields = about("the-id", TaskKey())
    assert set(fields) == set(CONTEXT) - {"request_id"}
    assert (fields["invocation_id"], fields["try_number"]) == ("the-id", 2)


def test_what_is_no_task_has_its_invocation_alone() -> None:
    """A callback's key has none of the five."""
    assert about("the-id", SimpleNamespace(id="the-id")) == {"invocation_id": "the-id"}


def test_what_was_not_sent_has_its_task_alone() -> None:
    """There is no invocation yet."""
    assert "invocation_id" not in about(key=TaskKey())
