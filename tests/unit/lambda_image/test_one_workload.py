"""What a job and a MicroVM have in common."""

from __future__ import annotations

import os
import time

import pytest

from lambda_image import host, one_workload


@pytest.mark.parametrize(
    ("given", "otherwise", "known"),
    [
        ({}, None, {}),
        ({}, "eu-west-1", {"AWS_REGION": "eu-west-1", "AWS_DEFAULT_REGION": "eu-west-1"}),
        ({"AWS_REGION": "a"}, None, {"AWS_REGION": "a", "AWS_DEFAULT_REGION": "a"}),
        ({"AWS_DEFAULT_REGION": "b"}, "c", {"AWS_REGION": "b", "AWS_DEFAULT_REGION": "b"}),
        (
            {"AWS_REGION": "a", "AWS_DEFAULT_REGION": "b"},
            "c",
            {"AWS_REGION": "a", "AWS_DEFAULT_REGION": "b"},
        ),
    ],
)
def test_both_variables_name_the_region(
    monkeypatch: pytest.MonkeyPatch,
    given: dict[str, str],
    otherwise: str | None,
    known: dict[str, str],
) -> None:
    """A MicroVM has only one, of which boto3 knows nothing; what is set stays."""
    for name in ("AWS_REGION", "AWS_DEFAULT_REGION"):
        monkeypatch.setenv(name, given.get(name, ""))
    one_workload.know_region(otherwise)
    found = {name: os.environ[name] for name in ("AWS_REGION", "AWS_DEFAULT_REGION")}
    assert {name: value for name, value in found.items() if value} == known


def test_the_remaining_time_is_that_of_the_monotonic_clock() -> None:
    """It may be over, and without a time-out it never is."""

    def left(ends_at_s: float) -> float:
        return one_workload.Context("id", None, ends_at_s).get_remaining_time_in_millis()

    assert left(time.monotonic() + 3600) > 0
    assert left(time.monotonic() - 1) < 0
    assert left(float("inf")) == float("inf")


def test_an_exit_code_of_0_means_that_the_result_was_sent(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Otherwise the log says why not, and in what."""

    def fails() -> None:
        raise ValueError("no queue")

    monkeypatch.setattr(host, "_name", "MicroVM")
    assert one_workload.reported(lambda: None) == 0
    assert one_workload.reported(fails) == 1
    said = capsys.readouterr().out
    assert "the MicroVM has not reported its result" in said
    assert "ValueError: no queue" in said
