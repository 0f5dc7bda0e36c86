"""The values that AWS's services will see, against CloudFormation's resource schemas.

The emulator takes almost everything. cfn-lint has AWS's schemas (required, read-only and unknown
properties, types, patterns, lengths, ranges) and rules for IAM's policies, but it skips whatever
contains a reference. Here every reference is resolved first.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

import pytest
from cfnlint.api import ManualArgs, lint

from tests.synth.assembly import PARTS
from tests.synth.judge.rendered import Rendering
from tests.synth.stacks.test_synth import NOT_FOR_US

#: Rules that look at a whole template, or at references. They hold for the templates themselves
#: (`test_synth.py`); here the resources of several stages are side by side.
OF_WHOLE_TEMPLATES = {
    "E3019": "Two stages have resources of the same name.",
    "E3060": "Two stages have the same addresses.",
    "I3010": "The resources of all stages together are many.",
    "W2530": "The references from versions to functions are resolved.",
    "W3010": "The references to availability zones are resolved.",
}

_KEPT = ("Type", "Properties", "DeletionPolicy", "UpdateReplacePolicy")


def findings(resources: Mapping[str, Mapping[str, Any]], *regions: str) -> list[str]:
    """Return what cfn-lint finds in resources, each by its name."""
    names = dict(enumerate(resources))
    template = {"Resources": {f"R{number}": resources[name] for number, name in names.items()}}
    settings = ManualArgs(
        regions=list(regions),
        include_checks=["I"],
        ignore_checks=[*NOT_FOR_US, *OF_WHOLE_TEMPLATES],
    )
    return [
        f"{names[int(str(found.path[1])[1:])]}: {found.message} "
        f"({found.rule.id} at {'/'.join(map(str, found.path[2:]))})"
        for found in lint(json.dumps(template), config=settings)
    ]


@pytest.mark.parametrize("part", PARTS)
def test_every_resource_is_what_its_schema_allows(
    part: str, renderings: Mapping[str, Rendering]
) -> None:
    """cfn-lint finds nothing in any resource of any stage, with all references resolved."""
    distinct: dict[str, str] = {}
    for variant, rendering in renderings.items():
        for resource in rendering.resources():
            if resource.part == part:
                body = {key: resource.body[key] for key in _KEPT if key in resource.body}
                distinct.setdefault(json.dumps(body), f"{variant}: {resource}")
    resources = {name: json.loads(body) for body, name in distinct.items()}
    assert findings(resources, *{rendering.region for rendering in renderings.values()}) == []


QUEUE = "arn:aws:sqs:eu-west-1:111122223333:queue"

#: Resources that each have one fault, by the fault.
UNSOUND: Mapping[str, Mapping[str, Any]] = {
    "too long": {"Type": "AWS::SQS::Queue", "Properties": {"QueueName": 81 * "q"}},
    "read-only": {"Type": "AWS::SQS::Queue", "Properties": {"Arn": QUEUE}},
    "no ARN": {
        "Type": "AWS::Lambda::Function",
        "Properties": {"Code": {"ImageUri": "image"}, "Role": "role", "PackageType": "Image"},
    },
    "incomplete": {"Type": "AWS::Lambda::Alias", "Properties": {"FunctionName": "function"}},
    "no such action": {
        "Type": "AWS::IAM::ManagedPolicy",
        "Properties": {
            "PolicyDocument": {
                "Version": "2012-10-17",
                "Statement": [
                    {"Effect": "Allow", "Action": "sqs:SendMessages", "Resource": QUEUE},
                ],
            }
        },
    },
    "no such operator": {
        "Type": "AWS::IAM::ManagedPolicy",
        "Properties": {
            "PolicyDocument": {
                "Version": "2012-10-17",
                "Statement": [
                    {
                        "Effect": "Allow",
                        "Action": "sqs:SendMessage",
                        "Resource": QUEUE,
                        "Condition": {"StringEqual": {"aws:PrincipalAccount": "111122223333"}},
                    },
                ],
            }
        },
    },
}


def test_judge_is_awake() -> None:
    """The same check finds each fault of this list."""
    found = {line.partition(":")[0] for line in findings(UNSOUND, "eu-west-1")}
    assert found == set(UNSOUND)
