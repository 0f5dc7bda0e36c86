"""How large the schedulers' policy is: IAM refuses more than 6,144 characters."""

from __future__ import annotations

from collections.abc import Sequence

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

_LONGEST_PARTITION, _LONGEST_REGION = len("aws-us-gov"), len("ap-southeast-1")


def characters_of(stack: cdk.Stack, function_names: Sequence[str], results_queues: int) -> int:
    """The characters of the policy, at most."""
    place = (
        len("aws") + len(stack.region)
        if not cdk.Token.is_unresolved(stack.region) and not stack.region.startswith(("cn", "us-g"))
        else _LONGEST_PARTITION + _LONGEST_REGION
    )
    functions = sum(_FUNCTION_CHARACTERS + 3 * (place + len(name)) for name in function_names)
    return FIXED_CHARACTERS + functions + results_queues * (_QUEUE_CHARACTERS + place)


def check_policy(policy: Construct, function_names: Sequence[str], results_queues: int) -> None:
    """Fail the synthesis if the policy is too large for IAM."""
    characters = characters_of(cdk.Stack.of(policy), function_names, results_queues)
    if characters > MOST_CHARACTERS:
        cdk.Annotations.of(policy).add_error(
            f"the policy for schedulers is about {characters} characters with "
            f"{len(function_names)} functions and {results_queues} results queues, and IAM allows "
            f"{MOST_CHARACTERS}: use fewer of them, shorter names, or another stage for some"
        )
