"""What a task does to the folder in which its environment keeps the DAG files of later tasks."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from lambda_executor.contract.wire import Invocation, InvocationId
from tests.support.dag_bucket import Bucket
from tests.support.handler_process import AS_LAMBDA, HandlerProcess, Server, task
from tests.support.local_aws import Server as LocalAws
from tests.support.machine import without_capabilities

DAG_FILE = Path(__file__).parent / "dags" / "handled.py"
SPOILS = (
    *("locks_the_dag_files", "replaces_the_dag_files", "links_the_dag_files"),
    "blocks_the_dag_files",
)
#: Seconds that a task has: more than a healthy one takes on any machine; and few.
LONG_S, SHORT_S = 240, 8


@pytest.fixture(scope="module")
def environment(
    tmp_path_factory: pytest.TempPathFactory, local_aws: LocalAws
) -> Iterator[HandlerProcess]:
    """One execution environment with DAG files from a bucket."""
    folder = tmp_path_factory.mktemp("environment")
    bucket = Bucket(local_aws)
    bucket.push({"handled.py": DAG_FILE.read_text()})
    program = [*without_capabilities(), *AS_LAMBDA, sys.executable]
    variables = {"AWS_ENDPOINT_URL_S3": local_aws.url, **bucket.variables}
    process = HandlerProcess(folder, folder / "none", Server(), variables, program)
    yield process
    process.close()
    process.server.close()


def attempt(environment: HandlerProcess, name: str, time_out_s: float = LONG_S) -> list[str]:
    """Run a task; returns outcome and reason, if it could report them within its time."""
    environment.server.results.clear()
    invocation = Invocation.for_workload(InvocationId("id-1"), json.dumps(task(name)))
    environment.invoke(json.loads(invocation.encode()), time_out_s)
    return [
        f"{result.outcome.value} {result.return_code}: {result.reason}"
        for result in environment.server.results
    ]


@pytest.mark.parametrize("spoil", SPOILS)
def test_spoilt_dag_files_fail_at_most_one_healthy_task(
    environment: HandlerProcess, spoil: str
) -> None:
    """The environment is given up: it would always be the free one, and fail all that come."""
    assert attempt(environment, spoil) == ["completed 0: "]
    # Fails, also because it waits for ever. On a slow machine its time is over before its report.
    attempt(environment, "around", SHORT_S)
    assert attempt(environment, "around") == ["completed 0: "]
