"""Two synchronous calls: the response of the first function is the event of the second."""

from __future__ import annotations

import json
from datetime import timedelta

from airflow.providers.amazon.aws.operators.lambda_function import LambdaInvokeFunctionOperator
from airflow.sdk import dag

#: Wait for as long as the function may run, here a minute. By default boto3 waits 60 seconds and
#: then sends the request again, which starts the function again. A repeated call is Airflow's job:
#: it shows each try and waits between them.
ONE_CALL = {"connect_timeout": 5, "read_timeout": 65, "retries": {"total_max_attempts": 1}}


@dag(
    schedule=None,
    default_args={
        # None: boto3 finds the credentials, those of the function that runs the task.
        "aws_conn_id": None,
        "botocore_config": ONE_CALL,
        # A throttled call fails the try at once; the next one comes later.
        "retries": 3,
        "retry_delay": timedelta(seconds=10),
        "retry_exponential_backoff": True,
    },
)
def chained_calls() -> None:
    """Add up an order, then write its invoice."""
    total = LambdaInvokeFunctionOperator(
        task_id="total",
        function_name="calling-functions-total",
        payload=json.dumps({"order": "A-17", "prices": [3, 4.5]}),
        # The last 4 KB of the function's log go into the task's log.
        log_type="Tail",
    )
    LambdaInvokeFunctionOperator(
        task_id="invoice",
        function_name="calling-functions-invoice",
        # The operator returns the response as text, which fits as the next payload.
        payload=total.output,
    )


chained_calls()
