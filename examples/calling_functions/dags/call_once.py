"""A call that charges once, although it is made twice."""

from __future__ import annotations

from airflow.providers.amazon.aws.operators.lambda_function import LambdaInvokeFunctionOperator
from airflow.sdk import dag

#: The same for each try, because a retry must not charge again. A run has its own key, so that the
#: next day is charged. Add `ti.try_number` only if each try shall have an effect of its own.
PAYLOAD = """{
  "bucket": "{{ var.value.calling_functions_bucket }}",
  "key": "{{ dag.dag_id }}/{{ run_id }}",
  "amount": 7.5
}"""


@dag(schedule=None, default_args={"aws_conn_id": None})
def call_once() -> None:
    """Call the same function twice with the same key: the second response says `duplicate`."""
    first, second = (
        LambdaInvokeFunctionOperator(
            task_id=task_id, function_name="calling-functions-charge", payload=PAYLOAD
        )
        for task_id in ("charge", "charge_again")
    )
    first >> second


call_once()
