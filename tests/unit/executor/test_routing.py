"""A workload runs on the function that its queue or its executor_config selects."""

from __future__ import annotations

import pytest

from lambda_executor.contract.errors import ConfigError, RouteError
from lambda_executor.core.outgoing import token_expiry_s
from lambda_executor.core.routing import Routes, Target

ARN = "arn:aws:lambda:eu-west-1:123456789012:function:fn"
LARGE = Target("fn-large", "live")
ROUTES = Routes(Target("fn"), default_queue="default", by_queue={"large": LARGE})


@pytest.mark.reference_fault("W16")
@pytest.mark.parametrize(
    ("text", "target"),
    [
        ("fn", Target("fn")),
        ("fn:live", Target("fn", "live")),
        ("fn:7", Target("fn", "7")),
        ("fn:$LATEST", Target("fn", "$LATEST")),
        ("fn@team-a", Target("fn", None, "team-a")),
        ("fn:live@team-a", Target("fn", "live", "team-a")),
        (f"{ARN}:live@a.b/c", Target(ARN, "live", "a.b/c")),
        (ARN, Target(ARN)),
        (f"{ARN}:live", Target(ARN, "live")),
        ("123456789012:function:fn", Target("123456789012:function:fn")),
        (
            "arn:aws-cn:lambda:cn-north-1:123456789012:function:fn:live",
            Target("arn:aws-cn:lambda:cn-north-1:123456789012:function:fn", "live"),
        ),
    ],
)
def test_names_and_arns_with_and_without_a_qualifier_are_read(text: str, target: Target) -> None:
    """Every form that Lambda accepts is read."""
    assert Target.parse(text, where="function_name") == target
    assert str(target) == text


@pytest.mark.parametrize("text", ["", "a b", "arn:aws:s3:::bucket", "fn:", "fn:a:b", "x" * 65])
def test_what_is_no_function_is_refused_with_its_value(text: str) -> None:
    """The error names the option, the value and the allowed forms."""
    with pytest.raises(ConfigError, match=r"function_name is .*write name, name:alias"):
        Target.parse(text, where="function_name")


def test_two_qualifiers_that_differ_are_refused() -> None:
    """The user must remove one of them; equal qualifiers are allowed."""
    assert Target.parse("fn:live", qualifier="live", where="x") == Target("fn", "live")
    with pytest.raises(ConfigError, match="remove one of them"):
        Target.parse("fn:live", qualifier="7", where="x")


def test_the_queue_selects_the_function() -> None:
    """This holds for a mapped queue, the default queue and a workload without a queue."""
    assert ROUTES.target("large") == LARGE
    assert ROUTES.target("default") == Target("fn")
    assert ROUTES.target(None) == Target("fn")


def test_without_a_map_every_queue_runs_on_the_one_function() -> None:
    """As with the reference, one function runs every task."""
    assert Routes(Target("fn")).target("anything") == Target("fn")


def test_the_executor_config_wins_over_the_queue() -> None:
    """The override names a queue of the map, or a function."""
    assert ROUTES.target("x", {"lambda_executor": {"function": "large"}}) == LARGE
    assert ROUTES.target("x", {"lambda_executor": {"function": f"{ARN}:7"}}) == Target(ARN, "7")
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
