"""RunTask is permitted by the task definition; calls about one task by the task.

AWS checks RunTask against the ARN of the task definition's revision, and DescribeTasks and StopTask
against the task's. ministack under `--auth` checks all of them against the cluster, and denies a
role with a policy for AWS.
https://docs.aws.amazon.com/service-authorization/latest/reference/list_amazonelasticcontainerservice.html
"""

from __future__ import annotations

import json
from typing import Any

from ministack.core import iam_actions
from ministack.core.responses import request_scope
from ministack.services import ecs


def apply() -> None:
    """Return these ARNs, and leave other calls to ministack."""
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
                case "DescribeTasks" if len(given.get("tasks", [])) == 1:
                    return _task(of_ecs, given, given["tasks"][0])
        return str(stock(*request))

    iam_actions.extract_resource_arn = extract_resource_arn


def _task(of_ecs: str, given: dict[str, Any], task: str) -> str:
    """A task's ARN, from the ARN or the id that the caller gave."""
    cluster = str(given.get("cluster", "default")).rpartition("/")[2]
    return f"{of_ecs}:task/{cluster}/{task.rpartition('/')[2]}"
