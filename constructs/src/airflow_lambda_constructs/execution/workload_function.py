"""The function that runs workloads: an image behind an alias, invoked asynchronously, once.

Owns its role, its log group and Lambda's side of the contract: no retries (they are Airflow's),
an event age, a dead-letter queue, a queue for the records of failures. It must not know what a
workload is or where results go.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import aws_cdk as cdk
import jsii
from aws_cdk import aws_ec2 as ec2
from aws_cdk import aws_iam as iam
from aws_cdk import aws_kms as kms
from aws_cdk import aws_lambda as lambda_
from aws_cdk import aws_logs as logs
from aws_cdk import aws_sqs as sqs
from constructs import Construct

from airflow_lambda_constructs.acknowledge import acknowledge

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
class FunctionProps:
    """A function that runs workloads; the defaults are Lambda's limits, and one whole vCPU.

    Attributes:
        name: Its name in an environment, whose first function has the environment's own name.
        code: The handler image.
        queues: Airflow's queues whose tasks it runs; the first function runs the default queue's.
        architecture: The image's.
        memory_mb: Memory, and with it the share of a CPU.
        timeout: The longest one try may take.
        ephemeral_storage: `/tmp`.
        reserved_concurrency: None: no reservation; 0: a pause.
        provisioned_concurrency: Environments that are kept warm; None: none.
        tenant_isolation: Whether tenants share no environment.
        environment: Variables of this function alone.
    """

    name: str = "default"
    code: lambda_.DockerImageCode
    queues: tuple[str, ...] = ()
    architecture: lambda_.Architecture = field(default_factory=lambda: lambda_.Architecture.X86_64)
    memory_mb: int = 1769
    timeout: cdk.Duration = field(default_factory=lambda: cdk.Duration.minutes(15))
    ephemeral_storage: cdk.Size = field(default_factory=lambda: cdk.Size.mebibytes(512))
    reserved_concurrency: int | None = None
    provisioned_concurrency: int | None = None
    tenant_isolation: bool = False
    environment: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class WorkloadFunctionProps:
    """What a `WorkloadFunction` is made of.

    Attributes:
        settings: The function, by its physical name; its log group is `/aws/lambda/<name>`.
        event_age: How long Lambda keeps an invocation it cannot start.
        dead_letter_queue: Where Lambda puts an invocation it gave up on.
        failures: Where Lambda puts the record of why; None: nowhere. Whoever makes the queues
            grants the function's role to send to them where they are encrypted with a key.
        log_retention: Of the function's log.
        removal_policy: What becomes of the log when it leaves the stack.
        encryption_key: For the log and the variables; None: keys of AWS's own.
        vpc: None: outside of any.
        subnets: Inside the VPC; None: its private ones.
        security_groups: Inside the VPC.
    """

    settings: FunctionProps
    event_age: cdk.Duration
    dead_letter_queue: sqs.IQueue
    failures: sqs.IQueue | None = None
    log_retention: logs.RetentionDays
    removal_policy: cdk.RemovalPolicy
    encryption_key: kms.IKey | None = None
    vpc: ec2.IVpc | None = None
    subnets: ec2.SubnetSelection | None = None
    security_groups: tuple[ec2.ISecurityGroup, ...] = ()


@jsii.implements(lambda_.IDestination)
class _Records:
    """A queue as the on-failure destination: `SqsDestination`, but without what it grants beside.

    It would let the function's role look at the queue, too, and use its key for anything.
    """

    def __init__(self, queue: sqs.IQueue) -> None:
        self._queue = queue

    def bind(
        self,
        scope: Construct,  # noqa: ARG002 - the interface's
        fn: lambda_.IFunction,
        *,
        type: lambda_.DestinationType,  # noqa: ARG002 - the interface's
    ) -> lambda_.DestinationConfig:
        """Let Lambda, which does it as the function's role, send to the queue."""
        iam.Grant.add_to_principal(
            grantee=fn, actions=["sqs:SendMessage"], resource_arns=[self._queue.queue_arn]
        )
        return lambda_.DestinationConfig(destination=self._queue.queue_arn)


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
        settings = props.settings
        self.log_group = logs.LogGroup(
            self,
            "Log",
            log_group_name=f"/aws/lambda/{settings.name}",
            retention=props.log_retention,
            removal_policy=props.removal_policy,
            encryption_key=props.encryption_key,
        )
        records = _Records(props.failures) if props.failures else None
        self.function = lambda_.DockerImageFunction(
            self,
            "Function",
            function_name=settings.name,
            description="Runs one Airflow workload per invocation",
            code=settings.code,
            architecture=settings.architecture,
            memory_size=settings.memory_mb,
            timeout=settings.timeout,
            ephemeral_storage_size=settings.ephemeral_storage,
            reserved_concurrent_executions=settings.reserved_concurrency,
            retry_attempts=0,
            max_event_age=props.event_age,
            dead_letter_queue=props.dead_letter_queue,
            on_failure=records,
            # A workload whose task invokes the function again, through a queue or a bucket, is
            # stopped after some sixteen rounds: a loop would cost until somebody looks.
            # https://docs.aws.amazon.com/lambda/latest/dg/invocation-recursion.html
            recursive_loop=lambda_.RecursiveLoop.TERMINATE,
            tenancy_config=lambda_.TenancyConfig.PER_TENANT if settings.tenant_isolation else None,
            environment=dict(settings.environment),
            environment_encryption=props.encryption_key,
            log_group=self.log_group,
            role=self._role(in_vpc=props.vpc is not None, name=settings.name),
            current_version_options=lambda_.VersionOptions(removal_policy=cdk.RemovalPolicy.RETAIN),
            vpc=props.vpc,
            vpc_subnets=props.subnets,
            security_groups=list(props.security_groups) or None,
        )
        self.alias = lambda_.Alias(
            self,
            "Live",
            alias_name="live",
            version=self.function.current_version,
            provisioned_concurrent_executions=settings.provisioned_concurrency,
            retry_attempts=0,
            max_event_age=props.event_age,
            on_failure=records,
        )
        if props.encryption_key:
            # https://docs.aws.amazon.com/lambda/latest/dg/configuration-envvars-encryption.html
            props.encryption_key.grant(self.function, "kms:Decrypt")

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
