"""Finds out which permission a refused call needed."""

from __future__ import annotations

import re
from dataclasses import dataclass

from lambda_executor.contract.errors import DENIED, AwsError

#: What boto3 writes around the name of a call.
_OPERATION = re.compile(r"when calling the (\w+) operation")
#: What IAM writes around the resource.
#: https://docs.aws.amazon.com/IAM/latest/UserGuide/troubleshoot_access-denied.html
_RESOURCE = re.compile(r"on resource: (arn:[^\s,]+)")
#: IAM's name of an action, where it is not that of the call.
_ACTIONS = {"lambda:Invoke": "lambda:InvokeFunction"}


@dataclass(frozen=True, slots=True)
class Right:
    """A permission of IAM; `resource` is empty if AWS does not say for what."""

    action: str
    resource: str = ""


def missing_right(error: AwsError, service: str) -> Right | None:
    """Return the permission that a call needed; None: it was not refused for a permission.

    Args:
        error: The error of the call.
        service: The beginning of IAM's names of the service's actions, such as `sqs`.
    """
    text = str(error)
    operation = _OPERATION.search(text)
    if error.code not in DENIED or operation is None:
        return None
    action = f"{service}:{operation[1]}"
    resource = _RESOURCE.search(text)
    return Right(_ACTIONS.get(action, action), resource[1] if resource else "")
