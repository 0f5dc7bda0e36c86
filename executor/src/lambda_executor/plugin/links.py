"""The links on a task's page. The API server makes them, when a person looks at the task.

Airflow asks for the links in other processes too, such as the DAG processor, where nobody follows
one: what makes an address is imported when somebody does. A link that cannot be made is left out,
as an error here would hide the links of everybody else.
"""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Any

from lambda_executor.contract.errors import LambdaExecutorError

if TYPE_CHECKING:
    from airflow.models.taskinstancekey import TaskInstanceKey

log = logging.getLogger(__name__)

LOG = "Invocation log"
REQUEST = "Invocation and request id"
CONSOLE = "Function in the AWS console"


class TaskLink:
    """One link of every task; Airflow asks only for these two names.

    Args:
        name: What the button says.

    Attributes:
        name: What the button says.
    """

    def __init__(self, name: str) -> None:
        self.name = name

    def get_link(self, operator: Any, *, ti_key: TaskInstanceKey) -> str:  # noqa: ANN401, ARG002 - Airflow's
        """Return the address; empty: the task is another executor's, or it is not known."""
        from lambda_executor.plugin import invocations  # noqa: PLC0415 - on first use

        key = ti_key
        try:
            found = invocations.just_found(
                key.dag_id, key.run_id, key.task_id, key.map_index, key.try_number
            )
            return invocations.ADDRESSES[self.name](found) if found else ""
        except LambdaExecutorError as e:
            log.info("The link %r of %s is left out: %s", self.name, key, e)
            return ""
        except Exception:  # It would hide the links of everybody else.
            log.warning("The link %r of %s is left out", self.name, key, exc_info=True)
            return ""


LINKS = tuple(map(TaskLink, (LOG, REQUEST, CONSOLE)))
