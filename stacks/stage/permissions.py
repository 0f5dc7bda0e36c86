"""The secrets, policies and statements of a stage's configuration, as constructs take them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from aws_cdk import aws_iam as iam
from aws_cdk import aws_secretsmanager as secretsmanager
from constructs import Construct

from airflow_lambda_constructs.execution.permissions import WorkloadSecret
from lambda_executor.contract.secret_reference import SecretReference
from stacks.config.sections.workloads import Statement


def workload_secrets(
    scope: Construct, id: str, secrets: Mapping[str, str]
) -> Mapping[str, WorkloadSecret]:
    """Return the secret of each variable; `id` tells apart what several programs refer to."""
    references = {name: SecretReference.parse(text) for name, text in secrets.items()}
    imported = {
        arn: secretsmanager.Secret.from_secret_complete_arn(scope, f"{id}-Secret{number}", arn)
        for number, arn in enumerate(dict.fromkeys(each.arn for each in references.values()))
    }
    return {
        name: WorkloadSecret(imported[each.arn], each.json_key) for name, each in references.items()
    }


def managed_policies(
    scope: Construct, id: str, arns: Iterable[str]
) -> tuple[iam.IManagedPolicy, ...]:
    """Return the managed policies; `id` tells apart what several programs refer to."""
    return tuple(
        iam.ManagedPolicy.from_managed_policy_arn(scope, f"{id}-Policy{number}", arn)
        for number, arn in enumerate(arns)
    )


def policy_statements(statements: Iterable[Statement]) -> tuple[iam.PolicyStatement, ...]:
    """Return the statements of a policy."""
    return tuple(iam.PolicyStatement.from_json(each.as_json()) for each in statements)
