"""`known_parts.missing()` finds every part of Airflow's supervisor that is not as expected."""

from __future__ import annotations

import pytest
from airflow.sdk.api.client import Client, TaskInstanceOperations
from airflow.sdk.execution_time import supervisor

from lambda_image.runtime import known_parts


def test_nothing_is_missing_in_this_airflow() -> None:
    """The Airflow of the tests has all parts: otherwise the next tests show nothing."""
    assert known_parts.missing() == []


@pytest.mark.parametrize(
    ("owner", "name", "told"),
    [
        (supervisor, "_fork_main", "_fork_main"),
        (supervisor, "STATES_SENT_DIRECTLY", "STATES_SENT_DIRECTLY"),
        (supervisor.ActivitySubprocess, "final_state", "ActivitySubprocess.final_state"),
        (TaskInstanceOperations, "retry", "TaskInstanceOperations.retry"),
    ],
)
def test_a_part_that_is_gone_is_missing(
    monkeypatch: pytest.MonkeyPatch, owner: object, name: str, told: str
) -> None:
    """A missing part is found in the init phase, not when a task has died."""
    monkeypatch.delattr(owner, name)
    assert known_parts.missing() == [told]


@pytest.mark.parametrize("field", ["_rendered_map_index", "_terminal_state", "client", "id"])
def test_a_field_that_is_gone_is_missing(monkeypatch: pytest.MonkeyPatch, field: str) -> None:
    """A missing field of a task's supervisor is found."""
    fields = supervisor.ActivitySubprocess.__attrs_attrs__
    left = tuple(each for each in fields if each.name != field)
    monkeypatch.setattr(supervisor.ActivitySubprocess, "__attrs_attrs__", left)
    assert known_parts.missing() == [field]


def test_a_call_with_other_parameters_is_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    """A function with other parameters counts as missing."""
    monkeypatch.setattr(TaskInstanceOperations, "retry", lambda self, id_: None)  # noqa: ARG005
    assert known_parts.missing() == ["TaskInstanceOperations.retry"]


def test_a_client_that_cannot_be_made_to_call_once_is_missing(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """It has no parameter for that, and is not wrapped by what repeats its calls either."""
    monkeypatch.setattr(Client, "request", lambda self, *_, **__: None)  # noqa: ARG005
    assert known_parts.missing() == ["Client.request"]
