"""Who may see and do what, by Airflow's own permissions.

Airflow gives an app of a plugin no log-in: each route of `app` depends on one of these.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from enum import Enum
from functools import cache, partial
from typing import Annotated, NoReturn

from airflow.api_fastapi.app import get_auth_manager
from airflow.api_fastapi.auth.managers.base_auth_manager import ResourceMethod
from airflow.api_fastapi.auth.managers.models.base_user import BaseUser
from airflow.api_fastapi.auth.managers.models.resource_details import (
    AccessView,
    DagAccessEntity,
    DagDetails,
)
from airflow.api_fastapi.core_api.security import get_user
from airflow.models.dag import DagModel
from fastapi import Depends, Header, HTTPException, status

from lambda_executor.ops import tasks

#: What a page of another site cannot send without asking first, unlike the cookie of the log-in.
HEADER = "x-lambda-executor"


class Right(Enum):
    """What a person may do, and the permission of Airflow that says so.

    Without a DAG's id Airflow's auth managers tell whether a person may do it with some DAG, or
    whether the person's role has it at all. What names tasks asks `may_on` for each DAG besides.
    """

    SEE = "see Airflow's cluster activity"
    READ_TASKS = "read task instances"
    READ_WIRING = "read Airflow's configuration"
    CHANGE = "change task instances"


_METHODS: Mapping[Right, ResourceMethod] = {Right.READ_TASKS: "GET", Right.CHANGE: "PUT"}


def may(user: BaseUser, right: Right) -> bool:
    """Whether Airflow lets a person do that; with tasks, whether with those of any DAG."""
    manager = get_auth_manager()
    if right is Right.SEE:
        return manager.is_authorized_view(access_view=AccessView.CLUSTER_ACTIVITY, user=user)
    if right is Right.READ_WIRING:
        return manager.is_authorized_configuration(method="GET", user=user)
    return manager.is_authorized_dag(
        method=_METHODS[right], access_entity=DagAccessEntity.TASK_INSTANCE, user=user
    )


def may_on(user: BaseUser, right: Right, dag_id: str | None) -> bool:
    """Whether Airflow lets a person do that with the tasks of a DAG.

    Args:
        user: The person.
        right: `READ_TASKS` or `CHANGE`.
        dag_id: The DAG; None: it is not known, and the person needs the right on each of them.

    Raises:
        DatabaseError: Airflow's database cannot be read.
    """
    if dag_id is not None:
        return _may_on_dag(user, _METHODS[right], DagAccessEntity.TASK_INSTANCE, dag_id)
    allowed = get_auth_manager().get_authorized_dag_ids(user=user, method=_METHODS[right])
    return may(user, right) and tasks.dag_ids() <= allowed


def asker(user: BaseUser, right: Right) -> Callable[[str | None], bool]:
    """Return `may_on` for one request, which asks once about each DAG."""
    return cache(partial(may_on, user, right))


def readable_dags(user: BaseUser) -> set[str]:
    """Return the DAGs that a person may read."""
    return get_auth_manager().get_authorized_dag_ids(user=user)


def needs(right: Right) -> Callable[..., None]:
    """Return a dependency that answers 401 without a log-in, and 403 without a right."""

    def check(user: Annotated[BaseUser, Depends(get_user)]) -> None:
        if not may(user, right):
            refuse(right.value)

    return check


def needs_log_of(dag_id: str, user: Annotated[BaseUser, Depends(get_user)]) -> None:
    """Answer 403 to who may not read the task logs of a DAG."""
    if not _may_on_dag(user, "GET", DagAccessEntity.TASK_LOGS, dag_id):
        refuse("read the task logs of this DAG")


def refuse(what: str) -> NoReturn:
    """Answer 403 to who may not do something."""
    raise HTTPException(status.HTTP_403_FORBIDDEN, f"Airflow does not let you {what}")


def _may_on_dag(
    user: BaseUser, method: ResourceMethod, entity: DagAccessEntity, dag_id: str
) -> bool:
    team = DagModel.get_team_name(dag_id)
    details = DagDetails(id=dag_id, team_name=team)
    return get_auth_manager().is_authorized_dag(
        method=method, access_entity=entity, details=details, user=user
    )


def from_the_page(x_lambda_executor: Annotated[str, Header()] = "") -> None:
    """Answer 403 to a request that the page did not make, such as another site's form."""
    if not x_lambda_executor:
        raise HTTPException(status.HTTP_403_FORBIDDEN, f"the header {HEADER} is missing")
