"""A workload goes to the target that its queue or its executor_config selects."""

from __future__ import annotations

import dataclasses
import re
from typing import Any

import pytest

from lambda_executor.contract.errors import ConfigError, RouteError
from lambda_executor.core.outgoing import token_expiry_s
from lambda_executor.core.routing import Routes, overrides
from lambda_executor.core.targets import FunctionTarget, JobTarget, Service, Target

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


LONG = JobTarget("long", Service.BATCH, "{}")
HUGE = JobTarget("huge", Service.ECS, "{}", "task")
WITH_JOBS = dataclasses.replace(ROUTES, jobs={"long": LONG, "huge": HUGE})


def test_the_queue_selects_the_job_target() -> None:
    """Queues of functions and of jobs stand beside each other."""
    assert [WITH_JOBS.target(queue) for queue in ("long", "huge", "large", "default", None)] == [
        LONG,
        HUGE,
        LARGE,
        FunctionTarget("fn"),
        FunctionTarget("fn"),
    ]
    assert WITH_JOBS.targets() == (FunctionTarget("fn"), LARGE)


def test_job_targets_alone_leave_all_other_queues_to_the_one_function() -> None:
    """Whoever adds the first target need not name the queues of all tasks."""
    routes = Routes(FunctionTarget("fn"), jobs={"long": LONG})
    assert routes.target("long") == LONG
    assert routes.target("anything") == FunctionTarget("fn")


def test_the_executor_config_chooses_a_target_by_its_queue() -> None:
    """Whether that is a job's or a function's."""
    chosen = [
        WITH_JOBS.target("x", {"lambda_executor": {"target": name}})
        for name in ("long", "large", "default")
    ]
    assert chosen == [LONG, LARGE, FunctionTarget("fn")]


@pytest.mark.parametrize(
    ("asked", "reason"),
    [
        ({"target": "lnog"}, "known targets: default, huge, large, long"),
        ({"target": f"{ARN}:7"}, "known targets: default, huge, large, long"),
        ({"function": "long"}, "which is no function; write {'target': 'long'}"),
        ({"function": "large", "target": "long"}, 'write either {"target": "<a queue>"}'),
        ({"target": 5}, 'write either {"target": "<a queue>"}'),
    ],
)
def test_a_choice_of_no_known_target_is_refused(asked: object, reason: str) -> None:
    """The error shows what would be accepted."""
    with pytest.raises(RouteError) as refused:
        WITH_JOBS.target("long", {"lambda_executor": asked})
    assert reason in str(refused.value)


def test_an_unknown_queue_is_refused_with_the_queues_of_functions_and_targets() -> None:
    """Both are chosen by their queue."""
    with pytest.raises(RouteError, match="known queues: default, huge, large, long"):
        WITH_JOBS.target("lnog")


def test_a_job_has_the_overrides_of_its_service() -> None:
    """They are handed on as they are; a task without any has none."""
    resources = {"containerOverrides": {"vcpus": 2}}
    assert overrides(LONG, {"batch": resources, "somebody": "else"}) == resources
    assert overrides(HUGE, {"ecs": {"launchType": "EC2"}}) == {"launchType": "EC2"}
    assert overrides(LONG, {"somebody": "else"}) == {}
    assert overrides(LONG, None) == overrides(FunctionTarget("fn"), {"somebody": "else"}) == {}


@pytest.mark.parametrize(
    ("target", "executor_config", "reason"),
    [
        (LONG, {"ecs": {}}, "'ecs'] is for a job of Amazon ECS, and the task's target is the job"),
        (HUGE, {"batch": {}, "ecs": {}}, "'batch'] is for a job of AWS Batch, and the task's"),
        (FunctionTarget("fn"), {"batch": {}}, "the task's target is the function fn: remove it"),
        (LONG, {"batch": ["x"]}, "'batch'] is ['x']; write an object with parameters of the"),
        (LONG, {"batch": None}, "'batch'] is None; write an object with parameters of the"),
    ],
)
def test_overrides_that_are_not_of_the_targets_request_are_refused(
    target: Target, executor_config: dict[str, object], reason: str
) -> None:
    """They would do nothing, and nobody would notice."""
    with pytest.raises(RouteError) as refused:
        overrides(target, executor_config)
    assert reason in str(refused.value)


BATCH = JobTarget("aws_batch_executor", Service.BATCH, "{}", is_of_reference=True)
ECS = JobTarget("aws_ecs_executor", Service.ECS, "{}", "task", is_of_reference=True)
RESOURCES = {"containerOverrides": {"vcpus": 2}}


@pytest.mark.parametrize(
    ("target", "executor_config", "expected"),
    [
        (BATCH, RESOURCES, RESOURCES),
        (BATCH, {"batch": RESOURCES}, RESOURCES),
        (BATCH, {**RESOURCES, "lambda_executor": {"target": "default"}}, RESOURCES),
        (BATCH, {**RESOURCES, "memory_mb": 512, "cpu": 2}, RESOURCES),
        (ECS, {"launchType": "EC2"}, {"launchType": "EC2"}),
        (ECS, {}, {}),
    ],
)
def test_a_target_of_the_reference_takes_its_executor_config(
    target: JobTarget, executor_config: dict[str, Any], expected: dict[str, Any]
) -> None:
    """All of it is of the request, but for our own keys; under a key of ours it is, too."""
    assert overrides(target, executor_config) == expected


@pytest.mark.parametrize(
    ("executor_config", "reason"),
    [
        ({**RESOURCES, "batch": {}}, "'batch' and beside it containerOverrides: write all"),
        ({"ecs": {}}, "'ecs'] is for a job of Amazon ECS"),
    ],
)
def test_an_executor_config_with_two_meanings_is_refused(
    executor_config: dict[str, Any], reason: str
) -> None:
    """The error says how to write it."""
    with pytest.raises(RouteError, match=re.escape(reason)):
        overrides(BATCH, executor_config)


def test_a_job_may_be_the_default_target() -> None:
    """It serves what no other target does; functions may stand beside it."""
    routes = Routes(BATCH, jobs={"long": LONG})
    assert [routes.target(queue) for queue in (None, "default", "x", "long")] == [
        *(BATCH, BATCH, BATCH, LONG)
    ]
    assert (routes.targets(), routes.job_targets()) == ((), (BATCH, LONG))
    beside = Routes(BATCH, by_queue={"large": LARGE})
    assert (beside.targets(), beside.target("default")) == ((LARGE,), BATCH)


def test_without_functions_a_task_cannot_choose_one() -> None:
    """There would be no dead-letter queue."""
    with pytest.raises(RouteError, match=r"is 'fn', and no function is configured"):
        Routes(BATCH).target("x", {"lambda_executor": {"function": "fn"}})
    beside = Routes(BATCH, by_queue={"large": LARGE})
    found = beside.target("x", {"lambda_executor": {"function": "fn"}})
    assert found == FunctionTarget("fn")
