"""The DAG of `test_environment.py` whose task asks AWS for what its function may not have."""

from __future__ import annotations

import os
from typing import Any

from airflow.sdk import dag, task


@dag(schedule=None)
def curious() -> None:
    """One task."""

    @task
    def ask() -> dict[str, str]:
        """Answer with the error code of each call, or `allowed`."""
        import boto3  # noqa: PLC0415 - slow, and only the function needs it
        from airflow.sdk import Variable  # noqa: PLC0415 - wanted by the task alone
        from botocore.exceptions import ClientError  # noqa: PLC0415 - as boto3

        answers = {}
        calls: list[dict[str, Any]] = Variable.get("forbidden", deserialize_json=True)
        for call in calls:
            operation = getattr(boto3.client(call["service"]), call["operation"])
            try:
                operation(**call["arguments"])
                answers[call["what"]] = "allowed"
            except ClientError as e:
                answers[call["what"]] = e.response["Error"]["Code"]
        answers["role"] = boto3.client("sts").get_caller_identity()["Arn"]
        answers["function"] = os.environ["AWS_LAMBDA_FUNCTION_NAME"]
        return answers

    ask()


curious()
