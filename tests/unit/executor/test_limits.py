"""The limits of functions: where they come from, and what the executor makes of them."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import dataclass, field

import pytest

from lambda_executor.aws.inspection import AccountFacts
from lambda_executor.contract.errors import AwsError, RejectedError, ThrottledError
from lambda_executor.core.places import Limit, Limits
from lambda_executor.core.targets import FunctionTarget
from lambda_executor.engine.limits import LimitWatcher
from lambda_executor.setup.limits import ACCOUNT, FunctionLimits

SMALL, LARGE = FunctionTarget("small", "live"), FunctionTarget("large", "live", "tenant")


@dataclass
class Lambda:
    """What Lambda says about reservations.

    Attributes:
        reserved: By function.
        error: What it answers instead.
    """

    reserved: Mapping[str, int | None] = field(default_factory=dict)
    error: AwsError | None = None

    def reserved_concurrency(self, target: FunctionTarget) -> int | None:
        """Return a function's reservation."""
        if self.error:
            raise self.error
        return self.reserved.get(target.function)

    def account(self) -> AccountFacts:
        """Return the account's limits."""
        return AccountFacts(1000, 900)


def read(aws: Lambda, **max_in_flight: int) -> Limits:
    """Read the limits of both functions."""
    return FunctionLimits((SMALL, LARGE), max_in_flight, aws).read()  # type: ignore[arg-type]


def test_a_function_may_run_what_it_has_reserved_and_the_others_share_the_rest() -> None:
    """Versions, aliases and tenants of a function share its reservation."""
    assert read(Lambda({"small": 8})) == {"small": Limit("small", 8), "large": Limit(ACCOUNT, 900)}


def test_what_a_person_has_set_wins() -> None:
    """Lambda is not asked about that function; 0 is no limit."""
    limits = read(Lambda(error=RejectedError("denied")), small=5, large=0)
    assert limits == {"small": Limit("small", 5), "large": None}


def test_a_paused_function_has_no_limit() -> None:
    """Its invocations become dead letters at once, so their tasks have a reason."""
    assert read(Lambda({"small": 0}))["small"] is None


def test_what_the_role_may_not_read_is_not_known() -> None:
    """A role that was made for `AwsLambdaExecutor` lacks a permission."""
    assert read(Lambda(error=RejectedError("denied"))) == {"small": None, "large": None}


def test_what_is_known_stays_in_force_while_lambda_does_not_answer(
    caplog: pytest.LogCaptureFixture,
) -> None:
    """The next read may succeed; nobody is told, because nothing is wrong with the tasks."""
    told: list[Limits] = []
    aws = Lambda({"small": 8, "large": 2})
    watcher = LimitWatcher(
        FunctionLimits((SMALL, LARGE), {}, aws),  # type: ignore[arg-type]
        told.append,
    )
    caplog.set_level(logging.INFO)
    watcher.read()
    watcher.read()
    aws.error = ThrottledError("429")
    with pytest.raises(ThrottledError):
        watcher.read()
    assert told == [{"small": Limit("small", 8), "large": Limit("large", 2)}]
    assert caplog.messages == [
        "small may run 8 invocations at once",
        "large may run 2 invocations at once",
    ]
