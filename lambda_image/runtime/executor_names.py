"""Lets DAG files name any executor: which ones there are is the scheduler's business.

Airflow refuses a DAG file with a task whose `executor` is not in `[core] executor`, also where it
only runs one of the file's other tasks. A function has no executors. So this module replaces that
one validation, in this process and in the tasks' processes that are forked from it.
"""

from __future__ import annotations

import importlib
from typing import Any

from lambda_image.logs.invocation_log import WriteLog

#: Where the validation is, in the version that moved it there.
_VALIDATIONS = (
    ("airflow.dag_processing.dagbag", "_validate_executor_fields"),  # 3.2
    ("airflow.models.dagbag", "_validate_executor_fields"),  # 3.1
    ("airflow.models.dag", "DAG.validate_executor_field"),  # 3.0, for DAGs of `airflow.models` only
)


def accept_any(write_log: WriteLog) -> None:
    """Replace the validation, or log that it is not where it is expected."""
    replaced = [_is_replaced(module, path) for module, path in _VALIDATIONS]
    if not any(replaced):
        write_log(
            "warning",
            "this Airflow validates the executors of tasks elsewhere than the image knows: a DAG "
            "file may be refused in which a task names an executor. Build the image with Airflow "
            "3.0 to 3.4",
            expected=[f"{module}.{path}" for module, path in _VALIDATIONS],
        )


def _is_replaced(module: str, path: str) -> bool:
    *owners, name = path.split(".")
    try:
        owner: Any = importlib.import_module(module)
    except ImportError:
        return False
    for each in owners:
        owner = vars(owner).get(each)
    if owner is None or name not in vars(owner):
        return False
    setattr(owner, name, _accept)
    return True


def _accept(*_: object, **__: object) -> None:
    """Find nothing wrong with a DAG."""
