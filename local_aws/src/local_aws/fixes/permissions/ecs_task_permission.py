"""RunTask is permitted by the task definition; calls about one task or cluster by that.

AWS checks RunTask against the ARN of the task definition's revision, DescribeTasks and StopTask
against each task's, and DescribeClusters against the cluster's. The condition key `ecs:cluster` is
the ARN of the cluster of these tasks, and that of ListTasks. ministack under `--auth` checks all of
them against the parameter `cluster`, which DescribeClusters does not have, and does not know the
key. So it denies a role with a policy for AWS.
https://docs.aws.amazon.com/service-authorization/latest/reference/list_amazonelasticcontainerservice.html
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

from ministack.core import iam_actions
from ministack.core.responses import get_account_id, get_region, request_scope
from ministack.services import ecs

from local_aws.fixes.permissions._more_checks import Check, also_check

_OF_A_CLUSTER = frozenset(
    {"ecs:DescribeTasks", "ecs:ListTasks", "ecs:RunTask", "ecs:StartTask", "ecs:StopTask"}
)


def apply() -> None:
    """Return these ARNs and this condition key, and leave other calls to ministack."""
    _return_arns()
    _return_cluster()
    also_check(ecs, "ecs", _others)


def _others(operation: str, given: dict[str, Any], scope: str) -> Iterator[Check]:
    """The second and further tasks of DescribeTasks."""
    if operation == "DescribeTasks":
        for task in given.get("tasks", [])[1:]:
            yield Check("ecs:DescribeTasks", _task(f"arn:aws:ecs:{scope}", given, task))


def _return_cluster() -> None:
    stock = iam_actions.request_tag_context

    def request_tag_context(*request: Any) -> dict[str, Any]:  # noqa: ANN401 - passed through
        context: dict[str, Any] = stock(*request)
        _service, action, body, _parameters = request
        if action not in _OF_A_CLUSTER:
            return context
        name = _cluster(json.loads(body or b"{}"))
        arn = f"arn:aws:ecs:{get_region()}:{get_account_id()}:cluster/{name}"
        return {**context, "ecs:cluster": arn}

    iam_actions.request_tag_context = request_tag_context


def _return_arns() -> None:
    stock = iam_actions.extract_resource_arn

    def extract_resource_arn(*request: Any) -> str:  # noqa: ANN401 - passed through
        service, _method, _path, headers, body, _query, region, account = request
        if service == "ecs":
            given = json.loads(body or b"{}")
            of_ecs = f"arn:aws:ecs:{region}:{account}"
            match headers.get("x-amz-target", "").rpartition(".")[2]:
                case "RunTask":
                    with request_scope(account, region):
                        revision = ecs._resolve_td_key(given.get("taskDefinition"))
                    return f"{of_ecs}:task-definition/{revision}"
                case "StopTask":
                    return _task(of_ecs, given, given.get("task", ""))
                case "DescribeTasks" if given.get("tasks"):
                    return _task(of_ecs, given, given["tasks"][0])  # `_others` has the others.
                case "DescribeClusters" if len(given.get("clusters", [])) == 1:
                    return f"{of_ecs}:cluster/{_cluster({'cluster': given['clusters'][0]})}"
        return str(stock(*request))

    iam_actions.extract_resource_arn = extract_resource_arn


def _task(of_ecs: str, given: dict[str, Any], task: str) -> str:
    """A task's ARN, from the ARN or the id that the caller gave."""
    return f"{of_ecs}:task/{_cluster(given)}/{task.rpartition('/')[2]}"


def _cluster(given: dict[str, Any]) -> str:
    """A cluster's name, from the ARN or the name that the caller gave."""
    return str(given.get("cluster", "default")).rpartition("/")[2]
