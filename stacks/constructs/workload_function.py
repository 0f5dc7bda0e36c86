"""The function that runs workloads: an image behind an alias, invoked asynchronously, once.

Owns its role, its log group and Lambda's side of the contract: no retries (they are Airflow's),
an event age, a dead-letter queue. It must not know what a workload is or where results go.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import aws_cdk as cdk
from aws_cdk import aws_ec2 as ec2
from aws_cdk import aws_iam as iam
from aws_cdk import aws_lambda as lambda_
from aws_cdk import aws_logs as logs
from aws_cdk import aws_sqs as sqs
from constructs import Construct

from stacks.acknowledge import acknowledge

#: What Lambda calls with the function's role to attach it to a VPC.
#: https://docs.aws.amazon.com/lambda/latest/dg/configuration-vpc.html#configuration-vpc-permissions
_VPC_ACTIONS = [
    "ec2:AssignPrivateIpAddresses",
    "ec2:CreateNetworkInterface",
    "ec2:DeleteNetworkInterface",
    "ec2:DescribeNetworkInterfaces",
    "ec2:DescribeSubnets",
    "ec2:UnassignPrivateIpAddresses",
]


@dataclass(frozen=True, slots=True, kw_only=True)
class WorkloadFunctionProps:
    """What a `WorkloadFunction` is made of.

    Attributes:
        name: Physical name of the function; its log group is `/aws/lambda/<name>`.
        code: The image.
        architecture: The image's.
        memory_mb: Memory, and with it the share of a CPU.
        timeout: The longest one invocation may take.
        ephemeral_storage: `/tmp`.
        reserved_concurrency: None: no reservation.
        event_age: How long Lambda keeps an invocation it cannot start.
        dead_letter_queue: Where Lambda puts an invocation it gave up on.
        environment: Variables of the function.
        log_retention: Of the function's log.
        removal_policy: What becomes of the log when it leaves the stack.
        vpc: None: outside of any.
        security_groups: Inside the VPC.
    """

    name: str
    code: lambda_.DockerImageCode
    architecture: lambda_.Architecture
    memory_mb: int
    timeout: cdk.Duration
    ephemeral_storage: cdk.Size
    reserved_concurrency: int | None
    event_age: cdk.Duration
    dead_letter_queue: sqs.IQueue
    environment: Mapping[str, str] = field(default_factory=dict)
    log_retention: logs.RetentionDays
    removal_policy: cdk.RemovalPolicy
    vpc: ec2.IVpc | None = None
    security_groups: tuple[ec2.ISecurityGroup, ...] = ()


class WorkloadFunction(Construct):
    """A Lambda function, the version of this deploy and the alias that points at it.

    An older version stays when a new one is published: what runs on it runs on, and pointing the
    alias back at it undoes a deploy.

    Attributes:
        function: The function.
        alias: `live`, what is to be invoked.
        log_group: The function's log.
    """

    def __init__(self, scope: Construct, id: str, props: WorkloadFunctionProps) -> None:
        super().__init__(scope, id)
        self.log_group = logs.LogGroup(
            self,
            "Log",
            log_group_name=f"/aws/lambda/{props.name}",
            retention=props.log_retention,
            removal_policy=props.removal_policy,
        )
        self.function = lambda_.DockerImageFunction(
            self,
            "Function",
            function_name=props.name,
            description="Runs one Airflow workload per invocation",
            code=props.code,
            architecture=props.architecture,
            memory_size=props.memory_mb,
            timeout=props.timeout,
            ephemeral_storage_size=props.ephemeral_storage,
            reserved_concurrent_executions=props.reserved_concurrency,
            retry_attempts=0,
            max_event_age=props.event_age,
            dead_letter_queue=props.dead_letter_queue,
            environment=dict(props.environment),
            log_group=self.log_group,
            role=self._role(in_vpc=props.vpc is not None, name=props.name),
            current_version_options=lambda_.VersionOptions(removal_policy=cdk.RemovalPolicy.RETAIN),
            vpc=props.vpc,
            security_groups=list(props.security_groups) or None,
        )
        self.alias = lambda_.Alias(
            self,
            "Live",
            alias_name="live",
            version=self.function.current_version,
            retry_attempts=0,
            max_event_age=props.event_age,
        )

    def grant_dispatch(self, grantee: iam.IGrantable) -> iam.Grant:
        """Let a scheduler invoke the function, look whether it is there and read its log.

        Our executor's health check asks for the configuration, the reference's for the function;
        the doctor asks for the asynchronous invocation's settings too.
        """
        function = [self.function.function_arn, self.alias.function_arn]
        return (
            iam.Grant.add_to_principal(
                grantee=grantee, actions=["lambda:InvokeFunction"], resource_arns=function
            )
            .combine(
                iam.Grant.add_to_principal(
                    grantee=grantee,
                    actions=[
                        "lambda:GetAlias",
                        "lambda:GetFunction",
                        "lambda:GetFunctionConfiguration",
                        "lambda:GetFunctionEventInvokeConfig",
                    ],
                    resource_arns=function,
                )
            )
            .combine(self.log_group.grant(grantee, "logs:FilterLogEvents", "logs:GetLogEvents"))
        )

    def _role(self, *, in_vpc: bool, name: str) -> iam.Role:
        """A role without Lambda's managed policies: those may write to any log group.

        It cannot create the log group either, so a late invocation does not bring it back.
        """
        role = iam.Role(self, "Role", assumed_by=iam.ServicePrincipal("lambda.amazonaws.com"))
        self.log_group.grant_write(role)
        if in_vpc:
            self._let_lambda_attach_to_vpc(role, name)
        return role

    def _let_lambda_attach_to_vpc(self, role: iam.Role, name: str) -> None:
        # These actions have no resource-level permission that Lambda could be limited to; the
        # denial keeps the function's own code from using them.
        # https://docs.aws.amazon.com/lambda/latest/dg/configuration-vpc.html#configuration-vpc-best-practice
        role.add_to_policy(iam.PolicyStatement(actions=_VPC_ACTIONS, resources=["*"]))
        role.add_to_policy(
            iam.PolicyStatement(
                effect=iam.Effect.DENY,
                actions=_VPC_ACTIONS,
                resources=["*"],
                conditions={
                    "ArnEquals": {
                        "lambda:SourceFunctionArn": cdk.Stack.of(self).format_arn(
                            service="lambda",
                            resource="function",
                            resource_name=name,
                            arn_format=cdk.ArnFormat.COLON_RESOURCE_NAME,
                        )
                    }
                },
            )
        )
        acknowledge(
            role,
            **{
                "IAM5[Resource::*]": "Lambda attaches the function to the VPC with these EC2 "
                "actions, which it documents for all resources; the function's own code is denied "
                "them."
            },
        )
