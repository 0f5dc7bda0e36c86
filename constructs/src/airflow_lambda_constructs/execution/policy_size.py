"""How large the schedulers' policy is: IAM refuses more than 6,144 characters."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import aws_cdk as cdk
from constructs import Construct

#: https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_iam-quotas.html
MOST_CHARACTERS = 6144

#: The policy without functions and results queues, and with what an owner may add: reading the
#: tasks' logs from S3 or CloudWatch, and using a key.
FIXED_CHARACTERS = 1500

#: A function's ARN, its alias's and its log group's without partition, Region and name.
_FUNCTION_CHARACTERS = 132

#: A queue's ARN without partition and Region; CloudFormation makes names of up to 80 characters.
_QUEUE_CHARACTERS = 106


@dataclass(frozen=True, slots=True)
class _Service:
    """The characters that targets of one service need.

    Attributes:
        fixed: For all of them together: statements, and the ARNs that do not name one of them.
        arns: How many ARNs have a target's name, or the environment's.
        each: The characters of these ARNs without partition, Region and name.
    """

    fixed: int
    arns: int
    each: int


#: A service's name in the option `targets`.
_SERVICES: Mapping[str, _Service] = {
    # The job queue, the job definition without and with a revision, and the log group.
    "batch": _Service(fixed=430, arns=4, each=170),
    # The task definition, the two roles that it passes, and the log group. Fixed: the cluster's
    # ARN three times, that of its tasks twice.
    "ecs": _Service(fixed=1150, arns=4, each=230),
    # The image and the log group; the role has a generated name of up to 64 characters. Fixed: the
    # statements, the ARNs of AWS's base image and of two connectors, and the objects with the ids
    # of MicroVMs.
    "microvm": _Service(fixed=870, arns=2, each=210),
}

_LONGEST_PARTITION, _LONGEST_REGION = len("aws-us-gov"), len("ap-southeast-1")


def characters_of(
    stack: cdk.Stack,
    function_names: Sequence[str],
    results_queues: int,
    targets: Sequence[tuple[str, str]] = (),
) -> int:
    """The characters of the policy, at most; `targets` are services with physical names."""
    place = (
        len("aws") + len(stack.region)
        if not cdk.Token.is_unresolved(stack.region) and not stack.region.startswith(("cn", "us-g"))
        else _LONGEST_PARTITION + _LONGEST_REGION
    )
    functions = sum(_FUNCTION_CHARACTERS + 3 * (place + len(name)) for name in function_names)
    queues = results_queues * (_QUEUE_CHARACTERS + place)
    others = sum(_SERVICES[service].fixed for service in {service for service, _ in targets})
    for service, name in targets:
        kind = _SERVICES[service]
        others += kind.each + kind.arns * (place + len(name))
    return FIXED_CHARACTERS + functions + queues + others


def check_policy(
    policy: Construct,
    function_names: Sequence[str],
    results_queues: int,
    targets: Sequence[tuple[str, str]] = (),
) -> None:
    """Fail the synthesis if the policy is too large for IAM."""
    characters = characters_of(cdk.Stack.of(policy), function_names, results_queues, targets)
    if characters > MOST_CHARACTERS:
        cdk.Annotations.of(policy).add_error(
            f"the policy for schedulers is about {characters} characters with "
            f"{len(function_names)} functions, {len(targets)} other targets and {results_queues} "
            f"results queues, and IAM allows {MOST_CHARACTERS}: use fewer of them, shorter "
            "names, or another stage for some"
        )
