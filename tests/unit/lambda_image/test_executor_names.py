"""An Airflow that validates executors elsewhere is reported, and left as it is."""

from __future__ import annotations

from typing import Any

import pytest

from lambda_image.runtime import executor_names


@pytest.mark.parametrize(
    "moved", ["airflow.no_such_module.validate", "airflow.models.dag.no_such_function"]
)
def test_a_validation_that_has_moved_is_reported(
    monkeypatch: pytest.MonkeyPatch, moved: str
) -> None:
    """One warning in the init phase says what is missing, and what to do."""
    lines: list[tuple[str, str, dict[str, Any]]] = []
    monkeypatch.setattr(executor_names, "_VALIDATIONS", [tuple(moved.rsplit(".", 1))])
    executor_names.accept_any(lambda level, event, **fields: lines.append((level, event, fields)))
    ((level, event, fields),) = lines
    assert level == "warning"
    assert "Build the image with Airflow" in event
    assert fields == {"expected": [moved]}
