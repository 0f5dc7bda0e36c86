"""A target beside the functions, as an environment sees it, whatever service runs it.

An environment makes its targets by `TargetProps.make`, and knows nothing else about the services.
docs/decisions/0055-targets.md
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol

import aws_cdk as cdk
from aws_cdk import aws_ec2 as ec2
from aws_cdk import aws_iam as iam
from aws_cdk import aws_kms as kms
from aws_cdk import aws_logs as logs
from constructs import Construct

from airflow_lambda_constructs.acknowledge import acknowledge, shown
from airflow_lambda_constructs.execution.permissions import (
    WorkloadSecret,
    permit,
    variables_of_secrets,
)
from airflow_lambda_constructs.execution.shared_files import SharedFiles

#: Where the log groups of a service's targets are, by its name in the option `targets`. Those of
#: MicroVMs are in the folder of their default log group:
#: https://docs.aws.amazon.com/lambda/latest/dg/microvms-monitoring.html
_LOG_FOLDERS: Mapping[str, str] = {
    "batch": "/aws/batch",
    "ecs": "/aws/ecs",
    "microvm": "/aws/lambda-microvms",
}


def log_group_name(environment: str, service: str, target: str) -> str:
    """Return the name of a target's log group, given the service's name in the option `targets`."""
    return f"{_LOG_FOLDERS[service]}/{environment}-{target}"


@dataclass(frozen=True, slots=True, kw_only=True)
class TargetNetwork:
    """Where in a VPC the containers of targets run.

    Attributes:
        subnets: They have a way to ECR, S3, SQS, CloudWatch Logs and Airflow's Execution API.
        public_addresses: Whether the containers have public addresses, as public subnets need.
        security_groups: Each container carries all of them.
    """

    vpc: ec2.IVpc
    subnets: ec2.SubnetSelection
    public_addresses: bool
    security_groups: tuple[ec2.ISecurityGroup, ...]

    @property
    def subnet_ids(self) -> list[str]:
        """The ids of the subnets."""
        return self.vpc.select_subnets(
            subnet_group_name=self.subnets.subnet_group_name,
            subnet_type=self.subnets.subnet_type,
            subnets=self.subnets.subnets,
        ).subnet_ids

    @property
    def security_group_ids(self) -> list[str]:
        """The ids of the security groups."""
        return [group.security_group_id for group in self.security_groups]


@dataclass(frozen=True, slots=True, kw_only=True)
class TargetSurroundings:
    """What the environment gives to each of its targets.

    Attributes:
        name: The environment's name; the physical names of the targets begin with it.
        environment: Variables of every workload.
        permit_workload: Lets a role take payloads and send results, as every workload does.
        removal_policy: What happens to logs when they leave the stack.
        encryption_key: For the logs; None: AWS's own keys.
        network: None: there is no VPC, and no target that needs one.
        shared_files: Files that containers mount; None: there are none.
    """

    name: str
    environment: Mapping[str, str]
    permit_workload: Callable[[iam.IGrantable], object]
    log_retention: logs.RetentionDays
    removal_policy: cdk.RemovalPolicy
    encryption_key: kms.IKey | None
    network: TargetNetwork | None
    shared_files: SharedFiles | None = None

    def log_group(self, scope: Construct, service: str, target: str) -> logs.LogGroup:
        """Make the log group of one target of a service."""
        return logs.LogGroup(
            scope,
            "Log",
            log_group_name=log_group_name(self.name, service, target),
            retention=self.log_retention,
            removal_policy=self.removal_policy,
            encryption_key=self.encryption_key,
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class TargetSettings:
    """What the settings of every target have.

    Attributes:
        name: Its name in an environment.
        queues: Airflow queues whose tasks it runs.
        environment: Variables of this target alone.
        secrets: Variables that the image sets for the workloads: their values are in no template.
        policies: Managed policies of the role of its workloads.
        statements: What else its workloads may do.
    """

    name: str
    queues: tuple[str, ...]
    environment: Mapping[str, str] = field(default_factory=dict)
    secrets: Mapping[str, WorkloadSecret] = field(default_factory=dict)
    policies: tuple[iam.IManagedPolicy, ...] = ()
    statements: tuple[iam.PolicyStatement, ...] = ()

    def variables(self, scope: Construct, around: TargetSurroundings) -> dict[str, str]:
        """Return the variables of its workloads, as those of a function are."""
        own = {**self.environment, **variables_of_secrets(scope, self.secrets)}
        return {**around.environment, **own}

    def role(
        self, scope: Construct, around: TargetSurroundings, service: iam.IPrincipal
    ) -> iam.Role:
        """Make the role of its workloads, which a service assumes for them."""
        role = iam.Role(scope, "Role", assumed_by=service)
        around.permit_workload(role)
        for secret in self.secrets.values():
            secret.grant_read(role)
        permit(role, self.policies, self.statements)
        return role


@dataclass(frozen=True, slots=True, kw_only=True)
class Offer:
    """What a target gives to one task, in the words of the executor's option `offers`.

    Attributes:
        timeout_s: The longest try; None: no limit.
        memory_mb: Memory, in MiB.
        cpu: Virtual processors.
        gpu: GPUs.
        disk_gb: Disk for temporary files, in GiB.
    """

    timeout_s: int | None = None
    memory_mb: int
    cpu: float
    gpu: int = 0
    disk_gb: float

    @property
    def size(self) -> tuple[float, ...]:
        """The order of offers: the smallest comes first."""
        longest = float("inf") if self.timeout_s is None else self.timeout_s
        return self.gpu, self.memory_mb, self.cpu, longest, self.disk_gb

    def as_json(self) -> dict[str, float]:
        """Return what the option has for it."""
        limit = {} if self.timeout_s is None else {"timeout_s": self.timeout_s}
        gpu = {"gpu": self.gpu} if self.gpu else {}
        return {
            **limit,
            "memory_mb": self.memory_mb,
            "cpu": self.cpu,
            **gpu,
            "disk_gb": self.disk_gb,
        }


class Target(Protocol):
    """One target that has been made."""

    @property
    def queues(self) -> tuple[str, ...]:
        """The Airflow queues that it serves."""

    @property
    def service(self) -> str:
        """The service's name in the option `targets`: batch, ecs or microvm."""

    @property
    def request(self) -> Mapping[str, object]:
        """What the option `targets` has for it, below the service's name."""

    @property
    def offer(self) -> Offer:
        """What it gives to one task."""

    @property
    def role(self) -> iam.IRole:
        """The role of its workloads."""

    def grant_dispatch(self, policy: iam.ManagedPolicy) -> None:
        """Let a scheduler start workloads there, find and stop them, and read their log."""


class TargetProps(Protocol):
    """The settings of one target."""

    @property
    def name(self) -> str:
        """Its name in the environment, also the id of its construct without hyphens."""

    @property
    def queues(self) -> tuple[str, ...]:
        """The Airflow queues that it serves."""

    def make(self, scope: Construct, id: str, around: TargetSurroundings) -> Target:
        """Make it; `scope` is the same for all targets of an environment."""


def allow(
    policy: iam.ManagedPolicy,
    actions: Sequence[str],
    arns: Sequence[str],
    *,
    conditions: Mapping[str, object] | None = None,
    why: str = "",
) -> None:
    """Add a statement to the schedulers' policy; `why` is the reason for an ARN with a wildcard."""
    policy.add_statements(
        iam.PolicyStatement(actions=actions, resources=arns, conditions=conditions)
    )
    for arn in arns if why else ():
        if "*" in (text := shown(policy, arn)):
            acknowledge(policy, **{f"IAM5[Resource::{text}]": why})
