"""Answers of AWS and of its emulators, as facts."""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

from lambda_executor.aws.inspection import DEFAULT_TIMEOUT_S, FunctionFacts, Inspection
from lambda_executor.core.targets import FunctionTarget


def facts(**answer: object) -> FunctionFacts:
    """The facts about a function that AWS describes like this."""
    client = SimpleNamespace(get_function_configuration=lambda **_: answer)
    clients: Any = SimpleNamespace(function=client, errors=contextlib.nullcontext)
    return Inspection(clients).function(FunctionTarget("f"))


def test_an_answer_without_state_and_time_out_is_read() -> None:
    """An emulator that omits them describes a function that can be used."""
    found = facts(FunctionName="f")
    assert (found.state, found.timeout_s) == ("Active", DEFAULT_TIMEOUT_S)


def test_the_state_and_the_time_out_are_those_of_the_answer() -> None:
    """A failed function is failed, whatever the defaults are."""
    found = facts(FunctionName="f", State="Failed", StateReason="no image", Timeout=900)
    assert (found.state, found.state_reason, found.timeout_s) == ("Failed", "no image", 900)


def test_a_snapshot_is_that_of_the_version_that_was_asked_for() -> None:
    """Lambda says whether the function shall have one, and whether this version of it has."""
    on = {"ApplyOn": "PublishedVersions", "OptimizationStatus": "On"}
    assert facts(SnapStart=on).snapshot == "On"
    assert facts(SnapStart={**on, "OptimizationStatus": "Off"}).snapshot == "Off"
    assert facts(SnapStart={"ApplyOn": "None", "OptimizationStatus": "Off"}).snapshot == ""
    assert facts().snapshot == ""


def inspection(**calls: Callable[..., Any]) -> Inspection:
    """An inspection of an account that answers like this."""
    client = SimpleNamespace(**calls)
    clients: Any = SimpleNamespace(function=client, errors=contextlib.nullcontext)
    return Inspection(clients)


def test_a_paused_function_is_distinguished_from_one_without_a_reservation() -> None:
    """Lambda leaves the reservation out where there is none, and says 0 for a pause."""

    def reserved(**concurrency: int) -> int | None:
        answer = {"Configuration": {}, **({"Concurrency": concurrency} if concurrency else {})}
        return inspection(get_function=lambda **_: answer).reserved_concurrency(FunctionTarget("f"))

    assert reserved() is None
    assert reserved(ReservedConcurrentExecutions=0) == 0
    assert reserved(ReservedConcurrentExecutions=7) == 7


def test_the_limits_of_the_account_are_read() -> None:
    """Of them, how many invocations may run at once."""
    limits = {"ConcurrentExecutions": 10, "UnreservedConcurrentExecutions": 8, "CodeSizeZipped": 1}
    found = inspection(get_account_settings=lambda: {"AccountLimit": limits}).account()
    assert (found.concurrency, found.unreserved) == (10, 8)
