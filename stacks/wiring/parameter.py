"""The SSM parameters with an Airflow's settings, and the policy for its secrets."""

from __future__ import annotations

import aws_cdk as cdk
from aws_cdk import aws_iam as iam
from aws_cdk import aws_kms as kms
from aws_cdk import aws_ssm as ssm
from constructs import Construct

from airflow_lambda_constructs.acknowledge import acknowledge, shown
from airflow_lambda_constructs.execution.permissions import decryption_of_secrets
from stacks.stage.names import folder
from stacks.wiring.forms import Wiring, env_file, helm_values


def secrets_policy(scope: Construct, stage: str, key: kms.IKey | None) -> iam.ManagedPolicy:
    """Make a policy that allows reading the connections and variables of one stage only.

    People may encrypt these secrets with the stage's key; None: the stage has none of its own.
    """
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
    if key:
        policy.add_statements(decryption_of_secrets(scope, key))
    finding = f"IAM5[Resource::{shown(policy, of_stage)}]"
    reason = "People choose the names of the secrets, and AWS appends letters to each."
    acknowledge(policy, **{finding: reason})
    return policy


def hand_out(scope: Construct, wiring: Wiring) -> None:
    """Make an SSM parameter for each file, and an output with the command that prints it."""
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
