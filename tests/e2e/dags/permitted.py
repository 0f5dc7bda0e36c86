"""The DAG of `test_environment.py` whose tasks use what the stage gives them."""

from __future__ import annotations

import os

from airflow.sdk import dag, task


@dag(schedule=None)
def permitted() -> None:
    """One task with a permission, and one with secrets."""

    @task
    def read(buckets: list[str]) -> dict[str, str]:
        """Answer with each bucket's object, or the error code."""
        import boto3  # noqa: PLC0415 - slow, and only the function needs it
        from botocore.exceptions import ClientError  # noqa: PLC0415 - as boto3

        answers = {}
        for bucket in buckets:
            try:
                answer = boto3.client("s3").get_object(Bucket=bucket, Key="today.csv")
                answers[bucket] = answer["Body"].read().decode()
            except ClientError as e:
                answers[bucket] = e.response["Error"]["Code"]
        return answers

    @task
    def connect() -> list[bool]:
        """Answer whether the connection and the variable have the same password, and print it."""
        from airflow.sdk import Connection  # noqa: PLC0415 - wanted by the task alone

        password = os.environ["ORDERS_PASSWORD"]
        print("the password is", password)  # noqa: T201 - the test looks for it in the logs
        return [Connection.get("orders").password == password, len(password) > 0]

    read([os.environ.get("ORDERS_BUCKET", "orders"), "others"])
    connect()


permitted()
