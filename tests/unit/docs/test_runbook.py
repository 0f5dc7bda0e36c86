"""The runbook's sections have commands, and say what these print."""

from __future__ import annotations

import pytest

from tests.e2e import runbook

#: Without an alarm, or of services that the embedded AWS does not have.
WITHOUT_OUTPUT = {"budget", "nothing-is-sent", "tasks-stay-scheduled"}


def test_every_alarms_section_has_a_command_and_its_output() -> None:
    """Those that `tests/e2e/test_stages.py` runs."""
    assert {section for section, steps in runbook.steps().items() if not steps} == WITHOUT_OUTPUT


@pytest.mark.parametrize(
    ("output", "printed", "fits"),
    [
        ("3 of 10 tasks", "7 of 200\n tasks", True),
        ('{"a": "...", ...}', '{"a": "x", "b": 1}', True),
        (
            "8a58407b-ffa6-4b03-848c-126fe6361543 is it",
            "0c16d6de-0000-4f6b-b6e7-409371 is it",
            True,
        ),
        ("3 of 10 tasks", "3 of ten tasks", False),
        ("3 of 10 tasks", "WARNING\n3 of 10 tasks", False),
        ("[ ]", "[ 1 ]", False),
    ],
)
def test_an_output_is_compared_by_its_shape(output: str, printed: str, fits: bool) -> None:
    """Numbers and what is left out may differ, words and brackets may not."""
    assert bool(runbook.pattern(output).fullmatch(" ".join(printed.split()))) is fits
