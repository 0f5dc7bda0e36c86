"""An asynchronous call with a large input, and a sensor that waits for its end for free."""

from __future__ import annotations

import json
import uuid
from datetime import timedelta

from airflow.providers.amazon.aws.hooks.s3 import S3Hook
from airflow.providers.amazon.aws.operators.lambda_function import LambdaInvokeFunctionOperator
from airflow.providers.amazon.aws.sensors.s3 import S3KeySensor
from airflow.sdk import dag, task

BUCKET = "{{ var.value.calling_functions_bucket }}"


@dag(schedule=None, default_args={"aws_conn_id": None})
def call_and_wait() -> None:
    """Summarise two hundred thousand numbers outside of Airflow."""

    @task
    def prepare(bucket: str) -> dict[str, str]:
        """Store the input, and choose where the output will be.

        Both have a new name each time, so that no run finds the output of another one, nor the
        next run of this task that of this one.
        """
        folder = f"summaries/{uuid.uuid4()}"
        event = {"bucket": bucket, "input": f"{folder}/input", "output": f"{folder}/output"}
        numbers = json.dumps(list(range(200_000)))  # 1.4 MB; an event may have 1 MB.
        S3Hook(aws_conn_id=None).load_string(numbers, event["input"], bucket)
        return event

    @task
    def show(event: dict[str, str]) -> dict[str, int]:
        """Read the output."""
        summary: dict[str, int] = json.loads(
            S3Hook(aws_conn_id=None).read_key(event["output"], event["bucket"])
        )
        return summary

    event = prepare(BUCKET)
    call = LambdaInvokeFunctionOperator(
        task_id="call",
        function_name="calling-functions-summarise",
        # Lambda puts the event into its queue, answers 202, and retries a failed call twice.
        invocation_type="Event",
        payload="{{ ti.xcom_pull('prepare') | tojson }}",
    )
    wait = S3KeySensor(
        task_id="wait",
        bucket_name=BUCKET,
        bucket_key="{{ ti.xcom_pull('prepare')['output'] }}",
        # The triggerer polls, so no function is paid for while this waits.
        deferrable=True,
        poke_interval=2,
        # Longer than the function may take with both retries. An event that failed for good leaves
        # no output, and this time-out is what then fails the run.
        timeout=timedelta(minutes=10).total_seconds(),
    )
    event >> call >> wait >> show(event)


call_and_wait()
