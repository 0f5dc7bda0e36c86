"""The demo's DAGs with functions that reach Airflow as in `dev`: through an API Gateway."""

from __future__ import annotations

import json

import pytest

from demo import paths
from demo.installation import dag_files, environment
from demo.installation.project import Project
from demo.outcome import exercise
from demo.screen import Screen
from tests.support import api_gateway
from tests.support.redeploy import redeploy

pytestmark = pytest.mark.timeout(600)

HOME = paths.Home(paths.ROOT / "build" / "api-gateway")


def test_the_demos_dags_run_through_an_api_gateway() -> None:
    """Every DAG run ends as in the demo, and nothing but the gateway's address was in use."""
    with environment.running(HOME, Project(dag_files.ON_FUNCTIONS), Screen()) as here:
        cloudformation = here.aws.client("cloudformation")
        stack = {
            "StackName": "gateway",
            "TemplateBody": json.dumps(api_gateway.template("gateway")),
        }
        cloudformation.create_stack(**stack)
        cloudformation.get_waiter("stack_create_complete").wait(StackName="gateway")
        (made,) = cloudformation.describe_stacks(StackName="gateway")["Stacks"]
        outputs = {output["OutputKey"]: output["OutputValue"] for output in made["Outputs"]}
        port = int(here.airflow.url.rpartition(":")[2])
        api_gateway.register(here.aws.client("servicediscovery"), outputs["ServiceId"], port)
        url = f"{outputs['Url']}/execution/"
        trust = {"AIRFLOW__API__SSL_CERT": str(here.aws.trust)}
        redeploy(here, execution={"execution_api_url": url}, workloads={"environment": trust})
        assert exercise.run_all(here).unexpected(here) == []
        function = here.aws.client("lambda").get_function_configuration(
            FunctionName=here.outputs["FunctionName"], Qualifier=here.outputs["FunctionAlias"]
        )
        variables = function["Environment"]["Variables"]
        assert variables["AIRFLOW__CORE__EXECUTION_API_SERVER_URL"] == url
        cloudformation.delete_stack(StackName="gateway")
