"""The DAGs of `examples/calling_functions` call real functions by the provider's own operator."""

from __future__ import annotations

import json
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from airflow.providers.amazon.aws.operators.lambda_function import LambdaInvokeFunctionOperator
from botocore.exceptions import ClientError

from tests.support.dag_runs import DagRuns, run_dags
from tests.support.examples import EXAMPLES, folder, workload_variables
from tests.support.local_aws import ACCOUNT, REGION, Function, Server

NAME = "calling_functions"
BUCKET = f"calling-functions-{ACCOUNT}"


@pytest.fixture(scope="module")
def aws(enforcing_aws: Server) -> Server:
    """The embedded AWS with what the example's app.py deploys."""
    functions = str(EXAMPLES / NAME / "functions")
    enforcing_aws.client("s3").create_bucket(Bucket=BUCKET)
    for handler in ("total", "invoice", "summarise", "charge"):
        name = f"calling-functions-{handler}"
        image = enforcing_aws.image(f"orders.{handler}", working_directory=functions)
        enforcing_aws.function(name=name, Code={"ImageUri": image}, Timeout=30, MemorySize=256)
        allowed = {"Effect": "Allow", "Action": "s3:*", "Resource": f"arn:aws:s3:::{BUCKET}/*"}
        enforcing_aws.client("iam").put_role_policy(
            RoleName=name, PolicyName="p", PolicyDocument=json.dumps({"Statement": [allowed]})
        )
    return enforcing_aws


@pytest.fixture(scope="module")
def runs(aws: Server, tmp_path_factory: pytest.TempPathFactory) -> DagRuns:
    """Each DAG of the example, run once with what its stage.json gives to a task."""
    home = tmp_path_factory.mktemp("airflow")
    return run_dags(folder(NAME), home, workload_variables(NAME, aws))


@pytest.fixture
def call(aws: Server, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Any]:
    """Calls a function by the provider's operator, outside of a DAG and without retries."""
    monkeypatch.setenv("AWS_ENDPOINT_URL", aws.url)

    def call(function_name: str, **arguments: Any) -> Any:
        operator = LambdaInvokeFunctionOperator(
            task_id="operator",
            function_name=function_name,
            aws_conn_id=None,
            region_name=REGION,
            botocore_config={"retries": {"total_max_attempts": 1}},
            **arguments,
        )
        return operator.execute({})

    return call


@pytest.fixture
def busy(aws: Server) -> Function:
    """A function that runs once at a time."""
    function = aws.function()
    function.reserve(1)
    return function


def test_a_response_is_the_event_of_the_next_call(runs: DagRuns) -> None:
    """Synchronous calls are chained by what their tasks return."""
    returned = runs["chained_calls"].returned
    assert json.loads(returned["total"][0]) == {"order": "A-17", "total": 7.5}
    assert json.loads(returned["invoice"][0]) == {"invoice": "Order A-17: 7.50"}


def test_the_functions_log_is_in_the_tasks_log(runs: DagRuns) -> None:
    """`log_type="Tail"` shows what the function printed, and Lambda's own report."""
    assert "adding up 2 prices" in runs.log
    assert "REPORT RequestId" in runs.log


def test_an_asynchronous_end_is_waited_for(runs: DagRuns) -> None:
    """An input larger than an event goes through S3; a sensor waits for the output.

    It is deferred unless the output is there already, as it is on some machines.
    """
    run = runs["call_and_wait"]
    assert (run.state, run.tasks["wait"]) == ("success", ["success"])
    assert run.returned["show"] == [{"count": 200_000, "sum": 19_999_900_000}]


def test_an_asynchronous_event_has_a_limit(call: Callable[..., Any]) -> None:
    """That is why the input goes through S3: Lambda refuses an event above 1 MB."""
    numbers = json.dumps(list(range(200_000)))
    with pytest.raises(ClientError, match="RequestTooLargeException"):
        call("calling-functions-summarise", invocation_type="Event", payload=numbers)


def test_a_repeated_call_has_one_effect(runs: DagRuns) -> None:
    """With the same key, the second call returns the first one's receipt and says so."""
    first, second = (
        json.loads(runs["call_once"].returned[task][0]) for task in ("charge", "charge_again")
    )
    assert (first.pop("duplicate"), second.pop("duplicate")) == (False, True)
    assert first == second


def test_mapped_calls_all_succeed(runs: DagRuns) -> None:
    """Each of the ten orders has its total."""
    returned = runs["many_calls"].returned["total"]
    assert [json.loads(text)["total"] for text in returned] == [2 * n for n in range(10)]


def test_an_error_of_the_function_fails_the_task(call: Callable[..., Any]) -> None:
    """The task's error has the function's own message."""
    with pytest.raises(ValueError, match="a price cannot be negative"):
        call("calling-functions-total", payload=json.dumps({"order": 1, "prices": [-1]}))


def test_a_throttled_call_fails_its_try(
    call: Callable[..., Any], busy: Function, tmp_path: Path
) -> None:
    """Beyond the reserved concurrency, the try fails with Lambda's error; a later one succeeds."""
    gate = tmp_path / "gate"
    with ThreadPoolExecutor() as threads:
        other = busy.gated(threads, gate)
        with pytest.raises(ClientError, match="TooManyRequestsException"):
            call(busy.name)
        gate.touch()
        other.result()
    assert json.loads(call(busy.name))["invocations"] == 2
