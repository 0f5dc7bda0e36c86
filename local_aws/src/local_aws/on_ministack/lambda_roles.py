"""Whether Lambda can assume a role of ministack's IAM, and what it may do with it."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from contextvars import copy_context
from typing import Any

from ministack import app
from ministack.core.iam_evaluator import enforce
from ministack.core.responses import get_region
from ministack.services import iam

from local_aws.on_ministack.role_sessions import role_session

_LAMBDA = "lambda.amazonaws.com"
#: Both are needed: https://docs.aws.amazon.com/lambda/latest/dg/microvms-security.html
_ACTIONS = ("sts:AssumeRole", "sts:TagSession")


def not_assumable(role_arn: str) -> str | None:
    """Why a MicroVM or its build cannot have the role; None: it can."""
    record = iam._roles.get(role_arn.rpartition("/")[2])
    if record is None:
        return f"The role {role_arn} does not exist"
    missing = [action for action in _ACTIONS if not _trusts(record, action)]
    if missing:
        return (
            f"The role {role_arn} cannot be assumed by Lambda: its trust policy must allow "
            f"{' and '.join(missing)} to the service {_LAMBDA}"
        )
    return None


def missing_permission(
    role_arn: str, needed: Iterable[tuple[str, str]], context: Mapping[str, str] | None = None
) -> str | None:
    """The first of these actions, each with its resource, that a role may not do; None: it may.

    `context` has condition keys of the requests. Everything is permitted unless permissions are
    enforced (`--auth`).
    """
    if not app.AUTH:
        return None
    key = role_session(role_arn, "build")["AWS_ACCESS_KEY_ID"]

    def may_not(action: str, resource: str) -> bool:
        # Lambda's own requests use TLS, which policies of buckets ask for.
        app.pin_request_origin("127.0.0.1", True)
        service = action.partition(":")[0]
        denied = enforce(
            key,
            action,
            service,
            get_region(),
            resource_arn=resource,
            service_context=dict(context or {}),
        )
        return denied is not None

    for action, resource in needed:
        if copy_context().run(may_not, action, resource):
            return f"the role {role_arn} may not do {action} on {resource}"
    return None


def _trusts(record: dict[str, Any], action: str) -> bool:
    """Whether the trust policy allows it; conditions are not looked at."""
    policy = record.get("AssumeRolePolicyDocument") or {}
    policy = json.loads(policy) if isinstance(policy, str) else policy
    return any(
        statement.get("Effect") == "Allow"
        and _LAMBDA in _list(statement.get("Principal", {}).get("Service"))
        and {action, "sts:*", "*"} & set(_list(statement.get("Action")))
        for statement in _list(policy.get("Statement"))
    )


def _list(value: Any) -> list[Any]:  # noqa: ANN401 - JSON
    """A list, of which one element may stand alone."""
    if value is None:
        return []
    return value if isinstance(value, list) else [value]
