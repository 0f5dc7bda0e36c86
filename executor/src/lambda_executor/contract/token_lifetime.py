"""The option of Airflow that says how long a workload's token lives."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final


@dataclass(frozen=True, slots=True)
class LifetimeOption:
    """One of Airflow's own options, a number of seconds."""

    section: str
    name: str
    default_s: float

    @property
    def environment_variable(self) -> str:
        """The variable that sets the option."""
        return f"AIRFLOW__{self.section.upper()}__{self.name.upper()}"

    def __str__(self) -> str:
        return f"[{self.section}] {self.name}"


#: How long a task may stay queued, on every version. Since Airflow 3.2 tokens live as long.
#: https://github.com/apache/airflow/pull/60108
TASK_QUEUED_TIMEOUT: Final = LifetimeOption("scheduler", "task_queued_timeout", 600)

#: How long tokens live before Airflow 3.2 (`BaseExecutor.jwt_generator`).
JWT_EXPIRATION_TIME: Final = LifetimeOption("execution_api", "jwt_expiration_time", 600)


def token_lifetime_option(airflow: str) -> LifetimeOption:
    """Return the option that a version of Airflow, such as `3.1.8`, takes the lifetime from."""
    minor = tuple(int(part) for part in airflow.split(".")[:2])
    return JWT_EXPIRATION_TIME if minor < (3, 2) else TASK_QUEUED_TIMEOUT
