"""The links on a task's page. The API server makes them, when a person looks at the task.

A link that cannot be made is left out: an error here would hide the links of everybody else.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Any
from urllib.parse import urlencode

from airflow.models.taskinstancekey import TaskInstanceKey

from lambda_executor.contract.errors import LambdaExecutorError
from lambda_executor.plugin import invocations, page_path
from lambda_executor.plugin.invocations import Invocation

log = logging.getLogger(__name__)


class TaskLink:
    """One link of every task; Airflow asks only for these two names.

    Args:
        name: What the button says.
        address: Returns the address; empty: there is none.

    Attributes:
        name: What the button says.
    """

    def __init__(self, name: str, address: Callable[[Invocation], str]) -> None:
        self.name = name
        self._address = address

    def get_link(self, operator: Any, *, ti_key: TaskInstanceKey) -> str:  # noqa: ANN401, ARG002 - Airflow's
        """Return the address; empty: the task is another executor's, or it is not known."""
        key = ti_key
        try:
            found = invocations.find(
                key.dag_id, key.run_id, key.task_id, key.map_index, key.try_number
            )
            return self._address(found) if found else ""
        except LambdaExecutorError as e:
            log.info("The link %r of %s is left out: %s", self.name, key, e)
            return ""


def request_link(invocation: Invocation) -> str:
    """Return the address of our page about an invocation, which shows its request id."""
    name = invocation.task.name
    query = urlencode(
        {
            "dag_id": name.dag_id,
            "run_id": name.run_id,
            "task_id": name.task_id,
            "map_index": name.map_index,
            "try_number": name.try_number,
        }
    )
    return f"{page_path()}?{query}"


LINKS = (
    TaskLink("Invocation log", invocations.log_link),
    TaskLink("Invocation and request id", request_link),
    TaskLink("Function in the AWS console", invocations.console_link),
)
