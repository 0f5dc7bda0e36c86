"""Only an invocation of the task itself is adopted."""

from __future__ import annotations

import json
import uuid
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lambda_executor.core.adoption import invocation_of

KEY: dict[str, object] = {
    "dag_id": "dag",
    "task_id": "task",
    "run_id": "run",
    "try_number": 1,
    "map_index": -1,
}
ID = uuid.UUID("0b0f5c0e-6a9c-4a53-9e0c-2f6c1d1f7e55")


@pytest.mark.parametrize("id", [str(ID), ID.hex], ids=["hyphens", "hex"])
def test_a_dispatch_id_is_adopted(id: str) -> None:
    """A UUID in either spelling: databases differ in how they make one."""
    assert invocation_of(id, KEY) == id


def test_the_tasks_own_key_is_adopted_as_it_is_written() -> None:
    """The reference's handler answers with the same text, so not a space of it may change."""
    id = json.dumps(KEY)
    assert invocation_of(id, KEY) == id


def test_the_longest_key_of_the_reference_is_adopted() -> None:
    """Three ids of 250 characters that JSON escapes are more than 4,500."""
    key = {**KEY, "dag_id": "ü" * 250, "task_id": "ü" * 250, "run_id": "ü" * 250}
    id = json.dumps(key)
    assert len(id) > 4500
    assert invocation_of(id, key) == id


@pytest.mark.parametrize("changed", [{"try_number": 2}, {"dag_id": "other"}, {"more": 1}])
def test_another_tasks_key_is_refused(changed: dict[str, object]) -> None:
    """Its result would settle a task that it does not belong to."""
    with pytest.raises(ValueError, match="nor, as AwsLambdaExecutor writes it, the task's own key"):
        invocation_of(json.dumps({**KEY, **changed}), KEY)


def test_a_task_of_ecs_is_adopted() -> None:
    """`AwsEcsExecutor` has started it; it would be ended and run again."""
    arn = "arn:aws:ecs:eu-west-1:123456789012:task/cluster/0123456789abcdef0123456789abcdef"
    assert invocation_of(arn, KEY) == arn
    for other in (arn.replace("task/", "service/"), f"{arn} x", arn + "0" * 250):
        with pytest.raises(ValueError, match="nor"):
            invocation_of(other, KEY)


@pytest.mark.parametrize("id", [None, ""])
def test_a_task_that_was_not_sent_is_refused(id: str | None) -> None:
    """No invocation will ever report under it."""
    with pytest.raises(ValueError, match="was not sent"):
        invocation_of(id, KEY)


json_values: st.SearchStrategy[Any] = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
)


@given(st.text() | json_values.map(json.dumps) | st.sampled_from(["[" * 100_000, "x" * 10_000]))
def test_anything_else_is_refused_in_a_short_line(id: str) -> None:
    """The error does not repeat the whole id that another executor wrote."""
    with pytest.raises(ValueError, match="external_executor_id") as caught:
        invocation_of(id, KEY)
    assert len(str(caught.value)) < 700
