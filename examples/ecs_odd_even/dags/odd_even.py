"""Draws a number, runs one of two containers on Fargate for it, and joins the branches."""

from __future__ import annotations

import json
import random
from typing import Any

from airflow.providers.amazon.aws.hooks.ssm import SsmHook
from airflow.providers.amazon.aws.operators.ecs import EcsRunTaskOperator
from airflow.sdk import XComArg, dag, task

#: The names of what app.py deploys.
NAME = "ecs-odd-even"


@dag(schedule=None, default_args={"aws_conn_id": None}, params={"number": 0})
def odd_even() -> None:
    """Count the Collatz steps of a number; give one as a parameter, or 0 for any."""

    @task
    def number(params: dict[str, Any] | None = None) -> int:
        """The run's parameter, or a random number."""
        return (params or {})["number"] or random.randint(1, 1_000_000)  # noqa: S311  # no secret

    @task
    def network() -> dict[str, Any]:
        """Subnets and security group, which app.py has written into a parameter of SSM."""
        configuration: dict[str, Any] = json.loads(
            SsmHook(aws_conn_id=None).get_parameter_value(f"/{NAME}/network")
        )
        return configuration

    @task.branch
    def odd_or_even(number: int) -> str:
        """The task that shall run."""
        return "even" if number % 2 == 0 else "odd"

    @task(trigger_rule="none_failed_min_one_success")
    def join(*results: str | None) -> dict[str, Any]:
        """The result of the branch that ran."""
        (result,) = (json.loads(text) for text in results if text)
        return dict(result)

    drawn, where = number(), network()
    branches = [container(kind, where) for kind in ("odd", "even")]
    odd_or_even(drawn) >> branches
    join(*(branch.output for branch in branches))


def container(kind: str, network: XComArg) -> EcsRunTaskOperator:
    """A task that runs a container and waits, deferred, for its end."""
    return EcsRunTaskOperator(
        task_id=kind,
        cluster=NAME,
        task_definition=NAME,
        launch_type="FARGATE",
        network_configuration={"awsvpcConfiguration": network},
        overrides={
            "containerOverrides": [
                {
                    "name": "main",
                    "command": ["python", "odd_even.py", kind, "{{ ti.xcom_pull('number') }}"],
                }
            ]
        },
        # The triggerer asks ECS every few seconds. Without this the function waits, is paid for
        # while it waits, and waits no longer than its time-out.
        deferrable=True,
        waiter_delay=5,
        # With these three, the container's output is in the task's log, and its last line is what
        # the task returns. Without the name, the operator sleeps ten seconds to find it.
        awslogs_group=f"/{NAME}",
        awslogs_stream_prefix=NAME,
        container_name="main",
    )


odd_even()
