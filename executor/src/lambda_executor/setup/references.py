"""The executors of apache-airflow-providers-amazon, and what of their options is read as ours."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Protocol

from lambda_executor.contract import options
from lambda_executor.contract.options import (
    OPTIONS,
    REFERENCE_CLASS,
    REFERENCE_SECTION,
    SECTION,
)


class Conf(Protocol):
    """The part of Airflow's configuration that we use: the global one, or one team's."""

    def get(self, section: str, key: str, *, fallback: str | None = None) -> str | None:
        """Return the value of an option, or the fallback."""


@dataclass(frozen=True, slots=True)
class Reference:
    """One of these executors.

    Attributes:
        class_name: Its class.
        section: The section of Airflow's configuration with its options.
        marks: Options of which somebody who uses it has set one. The others have defaults, which
            Airflow returns as if somebody had set them.
        names: The names of our options there, by ours.
    """

    class_name: str
    section: str
    marks: tuple[str, ...]
    names: Mapping[str, str]

    def is_beside_us(self, conf: Conf) -> bool:
        """Whether `[core] executor` names it too, so that its section is its own."""
        return self.class_name in (conf.get("core", "executor", fallback=None) or "")

    def is_configured(self, conf: Conf) -> bool:
        """Whether its section describes an environment that is ours now."""
        return not self.is_beside_us(conf) and any(
            conf.get(self.section, mark, fallback=None) for mark in self.marks
        )

    def get(self, conf: Conf, name: str) -> str | None:
        """Return the text of an option of ours in its section; None: it has none."""
        if name not in self.names:
            return None
        return conf.get(self.section, self.names[name], fallback=None)


_SHARED = {
    option.name: option.name
    for option in (options.CONN_ID, options.REGION_NAME, options.CHECK_HEALTH_ON_STARTUP)
}

LAMBDA = Reference(
    REFERENCE_CLASS,
    REFERENCE_SECTION,
    marks=(options.FUNCTION_NAME.name, options.QUEUE_URL.name),
    names={option.name: option.name for option in OPTIONS if option.in_reference},
)

#: https://airflow.apache.org/docs/apache-airflow-providers-amazon/stable/executors/batch-executor.html
BATCH = Reference(
    "AwsBatchExecutor",
    "aws_batch_executor",
    marks=("job_queue", "job_definition", "submit_job_kwargs"),
    names={**_SHARED, options.MAX_INVOKE_ATTEMPTS.name: "max_submit_job_attempts"},
)

#: https://airflow.apache.org/docs/apache-airflow-providers-amazon/stable/executors/ecs-executor.html
ECS = Reference(
    "AwsEcsExecutor",
    "aws_ecs_executor",
    marks=("cluster", "task_definition", "run_task_kwargs"),
    names={**_SHARED, options.MAX_INVOKE_ATTEMPTS.name: "max_run_task_attempts"},
)

#: The stronger one first.
REFERENCES = (LAMBDA, BATCH, ECS)


def configured(conf: Conf) -> tuple[Reference, ...]:
    """Return those whose sections describe an environment that is ours now."""
    return tuple(reference for reference in REFERENCES if reference.is_configured(conf))


def sources(conf: Conf) -> tuple[Reference, ...]:
    """Return those whose sections are read where nothing stronger sets an option.

    The section of a job is not, if its target is not the default one: it may be left over, and its
    Region and credentials may be those of another environment.
    """
    found = configured(conf)
    ours = (options.FUNCTION_NAME, options.CONFIG_PARAMETER)
    is_function = any(conf.get(SECTION, option.name, fallback=None) for option in ours) or (
        LAMBDA in found and LAMBDA.get(conf, options.FUNCTION_NAME.name)
    )
    return tuple(reference for reference in found if reference is LAMBDA or not is_function)
