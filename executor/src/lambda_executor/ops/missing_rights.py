"""Finds out which permission a refused call needed."""

from __future__ import annotations

import re
from dataclasses import dataclass

from lambda_executor.contract.errors import DENIED, AwsError

#: What boto3 writes around the code of an error and the name of a call.
_CALL = re.compile(r"(?:\((\w+)\) )?when calling the (\w+) operation")
#: What IAM writes around the resource.
#: https://docs.aws.amazon.com/IAM/latest/UserGuide/troubleshoot_access-denied.html
_RESOURCE = re.compile(r"on resource: (arn:[^\s,]+)")
#: IAM's name of an action, where it is not that of the call.
_ACTIONS = {"lambda:Invoke": "lambda:InvokeFunction"}


@dataclass(frozen=True, slots=True)
class MissingRight:
    """A permission of IAM; `resource` is empty if AWS does not say for what."""

    action: str
    resource: str = ""


def missing_right(error: AwsError, service: str) -> MissingRight | None:
    """Return the permission that a call needed; None: it was not refused for a permission.

    Args:
        error: The error of the call.
        service: The beginning of IAM's names of the service's actions, such as `sqs`.
    """
    text = str(error)
    call = _CALL.search(text)
    if error.code not in DENIED or call is None:
        return None
    # A permission of SQS holds for one message and for a batch of them:
    # https://docs.aws.amazon.com/AWSSimpleQueueService/latest/SQSDeveloperGuide/sqs-batch-api-actions.html
    name = call[2].removesuffix("Batch") if service == "sqs" else call[2]
    action = f"{service}:{name}"
    resource = _RESOURCE.search(text)
    return MissingRight(_ACTIONS.get(action, action), resource[1] if resource else "")


def refused_call(text: str) -> str:
    """Return the call that was refused for a permission, by an error's text; empty: none was."""
    call = _CALL.search(text)
    return call[2] if call and call[1] in DENIED else ""
