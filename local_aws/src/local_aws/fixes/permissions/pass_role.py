"""RunTask and RegisterJobDefinition need `iam:PassRole` for the roles of their containers.

Of RunTask these are the roles of the task definition, or of the overrides instead. SubmitJob passes
none: a job has the roles of its definition. ministack checks no role.
https://docs.aws.amazon.com/AmazonECS/latest/developerguide/task-iam-roles.html
https://docs.aws.amazon.com/service-authorization/latest/reference/list_awsbatch.html
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from ministack.services import batch, ecs

from local_aws.fixes.permissions._more_checks import Check, also_check

_TO_TASKS = {"iam:PassedToService": "ecs-tasks.amazonaws.com"}


def apply() -> None:
    """Check each role by its ARN."""
    also_check(ecs, "ecs", _of_run_task)
    also_check(batch, "batch", _of_job_definition)


def _of_run_task(name: str, request: dict[str, Any], _scope: str) -> Iterator[Check]:
    if name == "RunTask":
        key = ecs._resolve_td_key(request.get("taskDefinition", ""))
        definition, overrides = ecs._task_defs.get(key) or {}, request.get("overrides", {})
        for role in ("taskRoleArn", "executionRoleArn"):
            yield from _pass(overrides.get(role) or definition.get(role))


def _of_job_definition(name: str, request: dict[str, Any], _scope: str) -> Iterator[Check]:
    if name == "registerjobdefinition":
        container = request.get("containerProperties", {})
        for role in ("jobRoleArn", "executionRoleArn"):
            yield from _pass(container.get(role))


def _pass(role: str | None) -> Iterator[Check]:
    if role:
        yield Check("iam:PassRole", role, _TO_TASKS)
