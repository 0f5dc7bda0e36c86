"""What the owner of an environment lets its workloads or programs do, beyond what the kit needs."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import aws_cdk as cdk
from aws_cdk import aws_iam as iam
from aws_cdk import aws_kms as kms
from aws_cdk import aws_logs as logs
from aws_cdk import aws_secretsmanager as secretsmanager
from constructs import Construct

from airflow_lambda_constructs.acknowledge import acknowledge, shown
from lambda_executor.contract import options
from lambda_executor.contract.secret_reference import SecretReference

_REASON = "The owner of the environment gave it this permission."


@dataclass(frozen=True, slots=True)
class WorkloadSecret:
    """A secret whose value becomes a variable; with `json_key` one key of the JSON in it."""

    secret: secretsmanager.ISecret
    json_key: str | None = None

    @property
    def reference(self) -> str:
        """Where the value is, as the handler reads it."""
        return str(SecretReference(self.secret.secret_arn, self.json_key))

    def grant_read(self, role: iam.IRole) -> None:
        """Let a role read the value: `ISecret.grant_read` would also let it describe the secret."""
        iam.Grant.add_to_principal(
            grantee=role,
            actions=["secretsmanager:GetSecretValue"],
            resource_arns=[self.secret.secret_arn],
        )
        if self.secret.encryption_key:
            self.secret.encryption_key.grant(role, "kms:Decrypt")


def decryption_of_secrets(scope: Construct, key: kms.IKey) -> iam.PolicyStatement:
    """Allow to read the secrets that a key encrypts, and to use it for nothing else.

    https://docs.aws.amazon.com/secretsmanager/latest/userguide/security-encryption.html
    """
    service = f"secretsmanager.{cdk.Stack.of(scope).region}.amazonaws.com"
    return iam.PolicyStatement(
        actions=["kms:Decrypt"],
        resources=[key.key_arn],
        conditions={"StringEquals": {"kms:ViaService": service}},
    )


def variables_of_secrets(scope: Construct, secrets: Mapping[str, WorkloadSecret]) -> dict[str, str]:
    """Return the variable that tells the image which secrets are whose values; none without any."""
    if not secrets:
        return {}
    references = {name: secret.reference for name, secret in secrets.items()}
    text = cdk.Stack.of(scope).to_json_string(references)
    return {options.WORKLOAD_SECRETS.environment_variable: text}


def read_log(log_group: logs.ILogGroup, grantee: iam.IGrantable) -> iam.Grant:
    """Let somebody find and read what workloads log, also while they run."""
    return log_group.grant(grantee, "logs:FilterLogEvents", "logs:GetLogEvents")


def permit(
    role: iam.IRole,
    policies: Sequence[iam.IManagedPolicy],
    statements: Sequence[iam.PolicyStatement],
) -> None:
    """Attach policies and add statements to a role; cdk-nag's findings about them are theirs."""
    for policy in policies:
        role.add_managed_policy(policy)
        acknowledge(role, **{f"IAM4[Policy::{shown(role, policy.managed_policy_arn)}]": _REASON})
    for statement in statements:
        role.add_to_principal_policy(statement)
        for finding in _findings(role, statement):
            acknowledge(role, **{f"IAM5[{finding}]": _REASON})


def _findings(role: iam.IRole, statement: iam.PolicyStatement) -> Iterator[str]:
    for kind, patterns in (("Action", statement.actions), ("Resource", statement.resources)):
        for pattern in patterns:
            if "*" in (text := shown(role, pattern)):
                yield f"{kind}::{text}"
