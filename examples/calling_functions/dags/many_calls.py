"""Ten calls, never more at once than the function may run."""

from __future__ import annotations

import json
from datetime import timedelta

from airflow.providers.amazon.aws.operators.lambda_function import LambdaInvokeFunctionOperator
from airflow.sdk import dag

#: The function's reserved concurrency in app.py. Lambda answers every call beyond it with
#: TooManyRequestsException, so Airflow makes no more calls at once.
RESERVED_CONCURRENCY = 2


@dag(schedule=None)
def many_calls() -> None:
    """Add up ten orders."""
    LambdaInvokeFunctionOperator.partial(
        task_id="total",
        function_name="calling-functions-total",
        aws_conn_id=None,
        botocore_config={"retries": {"total_max_attempts": 1}},
        # Counts the mapped tasks of all runs of this DAG. Several DAGs that call one function share
        # a pool instead: `pool="orders"`.
        max_active_tis_per_dag=RESERVED_CONCURRENCY,
        # Somebody else may call the function too: what is throttled then is tried again.
        retries=3,
        retry_delay=timedelta(seconds=5),
        retry_exponential_backoff=True,
    ).expand(payload=[json.dumps({"order": n, "prices": [n, n]}) for n in range(10)])


many_calls()
