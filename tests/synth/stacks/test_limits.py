"""The limits of AWS in numbers, in every stage and combination of options."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from itertools import repeat
from pathlib import Path
from typing import Any

import aws_cdk as cdk
import pytest

from airflow_lambda_constructs.execution import policy_size
from tests.synth.assembly import Resource, synthesize
from tests.synth.judge import sums
from tests.synth.judge.limits import LIMITS, characters, values
from tests.synth.judge.rendered import Rendering

#: Rows that no stage meets, and why they stay.
NOT_MET = {"ContainerDefinitions[].StartTimeout": "No container waits for another any more."}


def test_every_property_is_within_its_limits(rendering: Rendering) -> None:
    """No resource has a property that AWS would refuse."""
    assert [
        f"{resource}: {broken}"
        for resource in rendering.resources()
        for limit in LIMITS
        if limit.type == resource.type
        for broken in limit.broken_by(resource.properties)
    ] == []


@pytest.mark.parametrize("limit", sums.SUMS)
def test_every_sum_is_within_its_limit(limit: sums.Sum, rendering: Rendering) -> None:
    """No stage has more of anything than AWS allows, or allows a new account."""
    assert list(limit(rendering)) == []


def test_every_limit_is_met(renderings: Mapping[str, Rendering]) -> None:
    """Each row is about a property that some stage has: none is misspelt."""
    resources = [r for rendering in renderings.values() for r in rendering.resources()]
    assert {
        limit.path
        for limit in LIMITS
        if not any(
            limit.type == resource.type and list(values(resource.properties, limit.path))
            for resource in resources
        )
    } == set(NOT_MET)


@pytest.mark.parametrize("stage", ["dev", "prod"])
def test_a_new_account_can_run_the_stage(stage: str, renderings: Mapping[str, Rendering]) -> None:
    """The stages for AWS reserve no executions: a new account has 10, and none to give away.

    https://docs.aws.amazon.com/lambda/latest/dg/gettingstarted-limits.html
    """
    assert sums.reserved(renderings[stage]) == 0


def test_every_limit_has_a_source() -> None:
    """Each row names the page of AWS's documentation that says it."""
    assert all(limit.source.startswith("https://docs.aws.amazon.com/") for limit in LIMITS)


@pytest.mark.parametrize(
    ("type_", "properties", "message"),
    [
        (
            "AWS::ECS::TaskDefinition",
            {"ContainerDefinitions": [{}, {"StopTimeout": 121}]},
            "ContainerDefinitions[].StopTimeout is 121 (number), allowed is 2 to 120",
        ),
        (
            "AWS::IAM::ManagedPolicy",
            {"PolicyDocument": {"Statement": [6144 * "x"]}},
            "PolicyDocument is 6162 (characters), allowed is 1 to 6144",
        ),
        (
            "AWS::EC2::SecurityGroup",
            {"GroupDescription": "Of Airflow's programs"},
            """GroupDescription is "Of Airflow's programs", allowed is""",
        ),
    ],
)
def test_limits_are_awake(type_: str, properties: Mapping[str, Any], message: str) -> None:
    """What is out of bounds is named with its bounds."""
    found = [b for limit in LIMITS if limit.type == type_ for b in limit.broken_by(properties)]
    assert [broken.partition(": ")[0][: len(message)] for broken in found] == [message]


class Thousandfold(Rendering):
    """A stage that has a thousand of each resource."""

    def resources(self, *types: str) -> Iterator[Resource]:
        """Every resource a thousand times."""
        for resource in super().resources(*types):
            yield from repeat(resource, 1000)


@pytest.mark.parametrize(
    "limit",
    [
        sums.addresses,
        sums.fargate,
        sums.filters_of_a_log_group,
        sums.gateways,
        sums.policies_of_a_role,
        sums.reserved_concurrency,
        sums.rules_of_a_security_group,
    ],
)
def test_sums_are_awake(limit: sums.Sum, renderings: Mapping[str, Rendering]) -> None:
    """A thousand times as much is too much."""
    assert any(
        list(limit(Thousandfold(renderings[variant].assembly))) for variant in ("much", "prod")
    )


def test_a_policy_that_grows_too_large_is_refused_at_synth(tmp_path: Path) -> None:
    """With too many functions for one policy the synthesis says so, and what to do."""
    functions = [{"name": "default"}] + [
        {"name": f"team-{number}", "queues": [f"team-{number}"]} for number in range(24)
    ]
    message = (
        r"the policy for schedulers is about \d{4,5} characters with 25 functions, 0 other targets "
        "and 4 results queues, and IAM allows 6144: use fewer of them, shorter names, or another "
        "stage for some"
    )
    with pytest.raises(RuntimeError, match=message):
        synthesize(tmp_path, "dev", {"functions": functions, "execution": {"results_queues": 4}})


def test_the_policys_size_is_not_underestimated(rendering: Rendering) -> None:
    """The size that the synthesis reckons with is at least the real one, and close to it."""
    (policy,) = (
        policy
        for policy in rendering.resources("AWS::IAM::ManagedPolicy")
        if policy.logical_id.startswith("SchedulerPolicy")
    )
    names = [
        function.properties["FunctionName"]
        for function in rendering.resources("AWS::Lambda::Function")
    ]
    app = cdk.App()
    stack = cdk.Stack(app, "Stack", env=cdk.Environment(region=rendering.region))
    queues = rendering.assembly.config.execution.results_queues
    targets = [
        (target.kind, f"airflow-lambda-{rendering.assembly.stage}-{target.name}")
        for target in rendering.assembly.config.targets
    ]
    estimate = policy_size.characters_of(stack, names, queues, targets)
    real = characters(policy.properties["PolicyDocument"])
    assert real <= estimate <= real + 1000
