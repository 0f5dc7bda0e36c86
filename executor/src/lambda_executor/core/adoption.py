"""Decides whether a task's `external_executor_id` names an invocation to adopt.

Our executor writes a dispatch id, a UUID. `AwsLambdaExecutor` writes the task's own key as JSON,
under which its invocations still report after a switch to our executor. `AwsBatchExecutor` writes
the id of a job, a UUID too, and `AwsEcsExecutor` the ARN of a task of ECS: their jobs send no
result, but the task that runs in one reports to Airflow, where reconciliation finds its end; not
adopted, it would be ended and run again. Adopting any other text would hold a slot for nothing.
"""

from __future__ import annotations

import json
import re
import uuid
from collections.abc import Mapping

from lambda_executor.contract.wire import MAX_ID_CHARS, MAX_KEY_CHARS, InvocationId

#: https://docs.aws.amazon.com/AmazonECS/latest/developerguide/ecs-account-settings.html
_ECS_TASK = re.compile(r"arn:aws[a-z-]*:ecs:[a-z0-9-]+:\d{12}:task/[A-Za-z0-9_/-]+")


def invocation_of(external_id: str | None, key: Mapping[str, object]) -> InvocationId:
    """Return the invocation that the `external_executor_id` of the task with this key names.

    Raises:
        ValueError: It does not name an invocation; the message is for the log.
    """
    if not external_id:
        raise ValueError("it has no external_executor_id: it was not sent, or nobody knows")
    if not (
        is_dispatch_id(external_id)
        or _is_key(external_id, key)
        or (len(external_id) <= MAX_ID_CHARS and _ECS_TASK.fullmatch(external_id))
    ):
        raise ValueError(
            f"its external_executor_id {external_id[:80]!r} is neither a dispatch id (a "
            "UUID), nor, as AwsLambdaExecutor writes it, the task's own key as JSON, nor, as "
            "AwsEcsExecutor writes it, the ARN of a task of Amazon ECS"
        )
    return InvocationId(external_id)


def is_dispatch_id(text: str) -> bool:
    """Whether a text is a UUID: a dispatch id that our executor, or Airflow for it, made."""
    if len(text) > MAX_ID_CHARS:
        return False
    try:
        uuid.UUID(text)
    except ValueError:
        return False
    return True


def _is_key(text: str, key: Mapping[str, object]) -> bool:
    if len(text) > MAX_KEY_CHARS:
        return False
    try:
        named = json.loads(text)
    except (ValueError, RecursionError):
        return False
    return isinstance(named, dict) and named == dict(key)
