"""The DAG of `examples/ecs_odd_even` runs containers by the provider's own operator."""

from __future__ import annotations

import json

import pytest

from tests.support.dag_runs import DagRuns, run_dags
from tests.support.examples import EXAMPLES, folder, workload_variables
from tests.support.local_aws import REGION, RUNTIME_PYTHON, Server

EXAMPLE = "ecs_odd_even"
NAME = "ecs-odd-even"


@pytest.fixture(scope="module")
def aws(enforcing_aws: Server) -> Server:
    """The embedded AWS with what the example's app.py deploys."""
    image = enforcing_aws.image(
        entry_point=[],
        command=["python", "odd_even.py"],
        working_directory=str(EXAMPLES / EXAMPLE / "container"),
        environment={"PATH": str(RUNTIME_PYTHON.parent)},
    )
    options = {"awslogs-group": f"/{NAME}", "awslogs-region": REGION}
    log = {"logDriver": "awslogs", "options": {**options, "awslogs-stream-prefix": NAME}}
    network = json.dumps({"subnets": ["subnet-1"]})
    enforcing_aws.client("logs").create_log_group(logGroupName=f"/{NAME}")
    enforcing_aws.client("ssm").put_parameter(Name=f"/{NAME}/network", Type="String", Value=network)
    ecs = enforcing_aws.client("ecs")
    ecs.create_cluster(clusterName=NAME)
    ecs.register_task_definition(
        family=NAME,
        requiresCompatibilities=["FARGATE"],
        networkMode="awsvpc",
        cpu="256",
        memory="512",
        containerDefinitions=[{"name": "main", "image": image, "logConfiguration": log}],
    )
    return enforcing_aws


@pytest.fixture(scope="module")
def runs(aws: Server, tmp_path_factory: pytest.TempPathFactory) -> DagRuns:
    """Its runs with an even number, an odd one, and one that the container refuses."""
    home = tmp_path_factory.mktemp("airflow")
    parameters = {"even": {"number": 6}, "odd": {"number": 7}, "refused": {"number": -1}}
    return run_dags(folder(EXAMPLE), home, workload_variables(EXAMPLE, aws), parameters)


@pytest.mark.parametrize(("kind", "other", "steps"), [("even", "odd", 8), ("odd", "even", 16)])
def test_the_branch_runs_its_container(runs: DagRuns, kind: str, other: str, steps: int) -> None:
    """One branch ran, the other was skipped, and the join has what the container printed last."""
    run = runs[kind]
    assert (run.state, run.tasks[kind], run.tasks[other]) == ("success", ["success"], ["skipped"])
    (result,) = run.returned["join"]
    assert (result["kind"], result["steps"]) == (kind, steps)


@pytest.fixture
def printed(aws: Server, runs: DagRuns) -> list[str]:
    """What all containers have printed, as the operator and the triggerer read it."""
    assert runs.runs
    events = aws.client("logs").filter_log_events(logGroupName=f"/{NAME}")["events"]
    return [event["message"] for event in events]


def test_the_containers_output_is_in_cloudwatch_logs(printed: list[str]) -> None:
    """Line by line; in the triggerer, the operator's trigger forwards it to the task's log."""
    assert "counting the steps of 6, which is even" in printed
    assert "counting the steps of 7, which is odd" in printed


def test_a_failing_container_fails_its_task(runs: DagRuns, printed: list[str]) -> None:
    """The run fails, the task's log says how the container ended, and its last words are kept."""
    run = runs["refused"]
    assert (run.state, run.tasks["odd"]) == ("failed", ["failed"])
    assert "Essential container in task exited" in runs.log
    assert "-1 is not a positive number" in printed
