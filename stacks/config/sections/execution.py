"""How invocations travel between Airflow and the functions."""

from __future__ import annotations

from typing import Annotated
from urllib.parse import urlsplit

from pydantic import AfterValidator, Field

from stacks.config.sections.section import Section, rule


def _an_execution_api_url(value: str) -> str:
    url = urlsplit(value)
    if url.scheme not in {"http", "https"} or not url.hostname:
        raise ValueError("it must be a whole URL, https:// or http:// included")
    if not url.path.rstrip("/").endswith("/execution"):
        raise ValueError("it must end in /execution/, where Airflow serves its Execution API")
    return value


ExecutionApiUrl = Annotated[str, AfterValidator(_an_execution_api_url)]


class ExecutionConfig(Section):
    """How invocations travel between Airflow and the functions.

    Bounds of event age: https://docs.aws.amazon.com/lambda/latest/api/API_PutFunctionEventInvokeConfig.html,
    of retention and visibility:
    https://docs.aws.amazon.com/AWSSimpleQueueService/latest/SQSDeveloperGuide/sqs-quotas.html
    """

    execution_api_url: ExecutionApiUrl | None = Field(
        None,
        description="URL at which the functions reach the Execution API of your existing Airflow; "
        "null if the stage has its own control plane.",
        examples=["https://airflow.example.com/execution/"],
        json_schema_extra=rule("a URL"),
    )
    task_queued_timeout_s: int = Field(
        600,
        ge=60,
        description="`[scheduler] task_queued_timeout` of that Airflow, which is also the lifetime "
        "of a workload's token. Before Airflow 3.2 the token lives `[execution_api] "
        "jwt_expiration_time`: give the smaller of both.",
    )
    event_age_s: int = Field(
        540,
        ge=60,
        le=21600,
        description="How long Lambda keeps an invocation that it cannot start yet; then it becomes "
        "a dead letter.",
    )
    parallelism: int = Field(
        32,
        ge=1,
        description="`[core] parallelism` of each of that Airflow's schedulers: how many workloads "
        "it runs at the same time.",
    )
    results_queues: int = Field(
        1,
        ge=1,
        le=16,
        description="Number of results queues: one for each scheduler that runs at the same time, "
        "so that none has to hand back another's results.",
    )
    results_visibility_s: int = Field(
        120,
        ge=10,
        le=43200,
        description="How long a received result is hidden from other schedulers.",
    )
    results_retention_s: int = Field(
        345600,
        ge=60,
        le=1209600,
        description="How long a result waits for a scheduler that is down.",
    )
