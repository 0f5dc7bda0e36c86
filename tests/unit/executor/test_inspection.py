"""Answers of AWS and of its emulators, as facts."""

from __future__ import annotations

import contextlib
from types import SimpleNamespace
from typing import Any

from lambda_executor.aws.inspection import DEFAULT_TIMEOUT_S, FunctionFacts, Inspection
from lambda_executor.core.routing import Target


def facts(**answer: object) -> FunctionFacts:
    """The facts about a function that AWS describes like this."""
    client = SimpleNamespace(get_function_configuration=lambda **_: answer)
    clients: Any = SimpleNamespace(function=client, errors=contextlib.nullcontext)
    return Inspection(clients).function(Target("f"))


def test_an_answer_without_state_and_time_out_is_read() -> None:
    """An emulator that omits them describes a function that can be used."""
    found = facts(FunctionName="f")
    assert (found.state, found.timeout_s) == ("Active", DEFAULT_TIMEOUT_S)


def test_the_state_and_the_time_out_are_those_of_the_answer() -> None:
    """A failed function is failed, whatever the defaults are."""
    found = facts(FunctionName="f", State="Failed", StateReason="no image", Timeout=900)
    assert (found.state, found.state_reason, found.timeout_s) == ("Failed", "no image", 900)
