"""Who may see and do what, by Airflow's own permissions.

Airflow gives an app of a plugin no log-in: each route of `app` depends on one of these.
"""

from __future__ import annotations

from collections.abc import Callable
from enum import Enum
from typing import Annotated

from airflow.api_fastapi.app import get_auth_manager
from airflow.api_fastapi.auth.managers.models.base_user import BaseUser
from airflow.api_fastapi.auth.managers.models.resource_details import (
    AccessView,
    DagAccessEntity,
    DagDetails,
)
from airflow.api_fastapi.core_api.security import get_user
from fastapi import Depends, Header, HTTPException, status

#: What a page of another site cannot send without asking first, unlike the cookie of the log-in.
HEADER = "x-lambda-executor"


class Right(Enum):
    """What a person may do, and the permission of Airflow that says so."""

    SEE = "see Airflow's cluster activity"
    READ_TASKS = "read the task instances of all DAGs"
    READ_WIRING = "read Airflow's configuration"
    CHANGE = "change the task instances of all DAGs"


def may(user: BaseUser, right: Right) -> bool:
    """Whether Airflow lets a person do that."""
    manager = get_auth_manager()
    if right is Right.SEE:
        return manager.is_authorized_view(access_view=AccessView.CLUSTER_ACTIVITY, user=user)
    if right is Right.READ_WIRING:
        return manager.is_authorized_configuration(method="GET", user=user)
    return manager.is_authorized_dag(
        method="PUT" if right is Right.CHANGE else "GET",
        access_entity=DagAccessEntity.TASK_INSTANCE,
        user=user,
    )


def needs(*rights: Right) -> Callable[..., None]:
    """Return a dependency that answers 401 without a log-in, and 403 without one of the rights."""

    def check(user: Annotated[BaseUser, Depends(get_user)]) -> None:
        missing = [right.value for right in rights if not may(user, right)]
        if missing:
            raise HTTPException(
                status.HTTP_403_FORBIDDEN, f"Airflow does not let you {' and '.join(missing)}"
            )

    return check


def needs_log_of(dag_id: str, user: Annotated[BaseUser, Depends(get_user)]) -> None:
    """Answer 403 to who may not read the task logs of a DAG."""
    allowed = get_auth_manager().is_authorized_dag(
        method="GET",
        access_entity=DagAccessEntity.TASK_LOGS,
        details=DagDetails(id=dag_id),
        user=user,
    )
    if not allowed:
        raise HTTPException(
            status.HTTP_403_FORBIDDEN, "Airflow does not let you read the task logs of this DAG"
        )


def from_the_page(x_lambda_executor: Annotated[str, Header()] = "") -> None:
    """Answer 403 to a request that the page did not make, such as another site's form."""
    if not x_lambda_executor:
        raise HTTPException(status.HTTP_403_FORBIDDEN, f"the header {HEADER} is missing")
