"""How an Airflow is told to use a stage: parameters to fetch, and a policy for its secrets.

It must not know the words (`wiring_forms.py`), nor what made the things that they name.
"""

from __future__ import annotations

import aws_cdk as cdk
from aws_cdk import aws_iam as iam
from aws_cdk import aws_ssm as ssm
from constructs import Construct

from airflow_lambda_constructs.acknowledge import acknowledge, shown
from stacks.stage.names import folder
from stacks.wiring.forms import Wiring, env_file, helm_values


def secrets_policy(scope: Construct, stage: str) -> iam.ManagedPolicy:
    """Reading connections and variables of one stage, and no other secret."""
    policy = iam.ManagedPolicy(
        scope,
        "SecretsPolicy",
        description=f"Read Airflow's connections and variables of the stage {stage}",
    )
    of_stage = cdk.Stack.of(scope).format_arn(
        service="secretsmanager",
        resource="secret",
        resource_name=f"{folder(stage)}/*",
        arn_format=cdk.ArnFormat.COLON_RESOURCE_NAME,
    )
    policy.add_statements(
        iam.PolicyStatement(actions=["secretsmanager:GetSecretValue"], resources=[of_stage])
    )
    finding = f"IAM5[Resource::{shown(policy, of_stage)}]"
    reason = (
        "People name the connections and variables that they keep there, and AWS adds letters of "
        "its own to each name."
    )
    acknowledge(policy, **{finding: reason})
    return policy


def hand_out(scope: Construct, wiring: Wiring) -> None:
    """Two SSM parameters, each the whole of a file, and two outputs with the command for each."""
    forms = {
        "EnvFile": ("env", "Environment variables", env_file(wiring)),
        "HelmValues": ("helm-values", "Values for Airflow's Helm chart", helm_values(wiring)),
    }
    for id, (name, what, text) in forms.items():
        parameter = ssm.StringParameter(
            scope,
            id,
            parameter_name=f"/{folder(wiring.stage)}/{name}",
            description=f"{what} of an Airflow that uses this stage",
            string_value=text,
        )
        cdk.CfnOutput(
            scope,
            f"{id}Command",
            value=(
                f"aws ssm get-parameter --region {wiring.region} --name "
                f"{parameter.parameter_name} --query Parameter.Value --output text"
            ),
            description=f"Prints: {what.lower()}",
        )
