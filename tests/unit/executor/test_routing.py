"""A workload runs on the function that its queue or its executor_config selects."""

from __future__ import annotations

import pytest

from lambda_executor.contract.errors import ConfigError, RouteError
from lambda_executor.core.outgoing import token_expiry_s
from lambda_executor.core.routing import Routes
from lambda_executor.core.targets import FunctionTarget

ARN = "arn:aws:lambda:eu-west-1:123456789012:function:fn"
LARGE = FunctionTarget("fn-large", "live")
ROUTES = Routes(FunctionTarget("fn"), default_queue="default", by_queue={"large": LARGE})


@pytest.mark.reference_fault("W16")
@pytest.mark.parametrize(
    ("text", "target"),
    [
        ("fn", FunctionTarget("fn")),
        ("fn:live", FunctionTarget("fn", "live")),
        ("fn:7", FunctionTarget("fn", "7")),
        ("fn:$LATEST", FunctionTarget("fn", "$LATEST")),
        ("fn@team-a", FunctionTarget("fn", None, "team-a")),
        ("fn:live@team-a", FunctionTarget("fn", "live", "team-a")),
        (f"{ARN}:live@a.b/c", FunctionTarget(ARN, "live", "a.b/c")),
        (ARN, FunctionTarget(ARN)),
        (f"{ARN}:live", FunctionTarget(ARN, "live")),
        ("123456789012:function:fn", FunctionTarget("123456789012:function:fn")),
        (
            "arn:aws-cn:lambda:cn-north-1:123456789012:function:fn:live",
            FunctionTarget("arn:aws-cn:lambda:cn-north-1:123456789012:function:fn", "live"),
        ),
    ],
)
def test_names_and_arns_with_and_without_a_qualifier_are_read(
    text: str, target: FunctionTarget
) -> None:
    """Every form that Lambda accepts is read."""
    assert FunctionTarget.parse(text, where="function_name") == target
    assert str(target) == text


@pytest.mark.parametrize("text", ["", "a b", "arn:aws:s3:::bucket", "fn:", "fn:a:b", "x" * 65])
def test_what_is_no_function_is_refused_with_its_value(text: str) -> None:
    """The error names the option, the value and the allowed forms."""
    with pytest.raises(ConfigError, match=r"function_name is .*write name, name:alias"):
        FunctionTarget.parse(text, where="function_name")


def test_two_qualifiers_that_differ_are_refused() -> None:
    """The user must remove one of them; equal qualifiers are allowed."""
    assert FunctionTarget.parse("fn:live", qualifier="live", where="x") == FunctionTarget(
        "fn", "live"
    )
    with pytest.raises(ConfigError, match="remove one of them"):
        FunctionTarget.parse("fn:live", qualifier="7", where="x")


def test_the_queue_selects_the_function() -> None:
    """This holds for a mapped queue, the default queue and a workload without a queue."""
    assert ROUTES.target("large") == LARGE
    assert ROUTES.target("default") == FunctionTarget("fn")
    assert ROUTES.target(None) == FunctionTarget("fn")


def test_without_a_map_every_queue_runs_on_the_one_function() -> None:
    """As with the reference, one function runs every task."""
    assert Routes(FunctionTarget("fn")).target("anything") == FunctionTarget("fn")


def test_the_executor_config_wins_over_the_queue() -> None:
    """The override names a queue of the map, or a function."""
    assert ROUTES.target("x", {"lambda_executor": {"function": "large"}}) == LARGE
    assert ROUTES.target("x", {"lambda_executor": {"function": f"{ARN}:7"}}) == FunctionTarget(
        ARN, "7"
    )
    assert ROUTES.target("large", {"somebody": "else"}) == LARGE


@pytest.mark.parametrize("asked", ["large", {"function": 5}, {}, {"function": "no such"}, []])
def test_an_executor_config_that_asks_for_nothing_known_is_refused(asked: object) -> None:
    """The error shows the value and the known queues."""
    with pytest.raises(RouteError, match="lambda_executor"):
        ROUTES.target("large", {"lambda_executor": asked})


@pytest.mark.parametrize("token", ["", "x", "a.b.c", "a.e30.c", "a.eyJleHAiOiAieCJ9.c"])
def test_a_token_that_does_not_say_when_it_ends_has_no_end(token: str) -> None:
    """The API server then checks the token as usual."""
    assert token_expiry_s(token) is None


def test_the_end_of_a_token_is_its_exp_claim() -> None:
    """As Airflow signs it."""
    assert token_expiry_s("a.eyJleHAiOiAxMDAwfQ.c") == 1000.0
