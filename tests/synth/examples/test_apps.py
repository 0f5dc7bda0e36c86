"""The CDK apps of the examples deploy what their DAGs and their `stage.json` name."""

from __future__ import annotations

import runpy
from pathlib import Path
from typing import Any

import aws_cdk as cdk
import pytest

ROOT = Path(__file__).parents[3]


@pytest.fixture(scope="module")
def resources() -> dict[str, list[dict[str, Any]]]:
    """The properties of all resources of both apps, by type."""
    found: dict[str, list[dict[str, Any]]] = {}
    for example in ("calling_functions", "ecs_odd_even"):
        app = cdk.App()
        runpy.run_path(str(ROOT / "examples" / example / "app.py"))["build"](app)
        (stack,) = app.synth().stacks
        for resource in stack.template["Resources"].values():
            found.setdefault(resource["Type"], []).append(resource.get("Properties", {}))
    return found


def test_the_called_functions_are_deployed(resources: dict[str, list[dict[str, Any]]]) -> None:
    """Each function that a DAG names, with a handler of that name."""
    handlers = {
        each["FunctionName"]: each["ImageConfig"]["Command"]
        for each in resources["AWS::Lambda::Function"]
    }
    assert handlers == {
        f"calling-functions-{name}": [f"orders.{name}"]
        for name in ("total", "invoice", "summarise", "charge")
    }


def test_the_cluster_and_the_task_definition_are_deployed(
    resources: dict[str, list[dict[str, Any]]],
) -> None:
    """Both have the name that the DAG gives to RunTask, and the log that it reads."""
    (cluster,) = resources["AWS::ECS::Cluster"]
    (definition,) = resources["AWS::ECS::TaskDefinition"]
    (container,) = definition["ContainerDefinitions"]
    (log,) = resources["AWS::Logs::LogGroup"]
    assert (cluster["ClusterName"], definition["Family"], container["Name"]) == (
        "ecs-odd-even",
        "ecs-odd-even",
        "main",
    )
    assert log["LogGroupName"] == "/ecs-odd-even"
    assert container["LogConfiguration"]["Options"]["awslogs-stream-prefix"] == "ecs-odd-even"
    assert [each["Name"] for each in resources["AWS::SSM::Parameter"]] == ["/ecs-odd-even/network"]
