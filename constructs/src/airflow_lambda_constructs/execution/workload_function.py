"""The function that runs workloads: an image behind an alias, invoked asynchronously.

Owns the function's log group and how Lambda treats its invocations: no retries (Airflow owns
them), an event age, a dead-letter queue and a queue for failure records.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
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

from airflow_lambda_constructs.execution.function_role import function_role
from airflow_lambda_constructs.execution.permissions import (
    WorkloadSecret,
    permit,
    read_log,
    variables_of_secrets,
)
from airflow_lambda_constructs.execution.shared_files import SharedFiles
from airflow_lambda_constructs.execution.variables_size import check_variables
from lambda_executor.contract.lambda_limits import LONGEST_TIMEOUT_S


@dataclass(frozen=True, slots=True, kw_only=True)
class FunctionProps:
    """A function that runs workloads; the defaults are one whole vCPU and a quarter of an hour.

    Attributes:
        name: Its name in an environment; the first function has the environment's name instead.
        code: The handler image.
        queues: Airflow queues whose tasks it runs; the first function also runs the default queue.
        memory_mb: Memory, and with it the share of a CPU.
        timeout: The longest that one try may take.
        ephemeral_storage: The size of `/tmp`.
        reserved_concurrency: None: no reservation; 0: a pause.
        provisioned_concurrency: Execution environments that are kept warm; None: none.
        snap_start: Whether execution environments start from a snapshot (Lambda SnapStart); not
            with provisioned concurrency, tenant isolation, shared files or a larger `/tmp`. The
            image needs Python 3.12, and each version costs money until it is deleted.
        tenant_isolation: Whether each tenant has execution environments of its own.
        environment: Variables of this function alone.
        secrets: Variables that the handler sets for the workloads: their values are in no template.
            A secret with a KMS key that it does not know needs a statement with `kms:Decrypt`.
        policies: Managed policies of its role.
        statements: What else its workloads may do.
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
    snap_start: bool = False
    tenant_isolation: bool = False
    environment: Mapping[str, str] = field(default_factory=dict)
    secrets: Mapping[str, WorkloadSecret] = field(default_factory=dict)
    policies: tuple[iam.IManagedPolicy, ...] = ()
    statements: tuple[iam.PolicyStatement, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class WorkloadFunctionProps:
    """The settings of a `WorkloadFunction`.

    Attributes:
        settings: The function; its `name` is the physical name.
        event_age: How long Lambda keeps an invocation that it cannot start.
        dead_letter_queue: Lambda sends invocations here that it gave up on.
        failures: Lambda sends the record of each failure here; None: nowhere. If the queue is
            encrypted with a key, its owner grants the function's role to use the key.
        encryption_key: For the log and the variables; None: AWS's own keys.
        vpc: None: the function runs outside any VPC.
        subnets: None: the VPC's private ones.
        shared_files: Files that it mounts, in a VPC and not with snapshots; None: none.
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
    shared_files: SharedFiles | None = None


@jsii.implements(lambda_.IDestination)
class _FailureRecords:
    """A queue as the on-failure destination.

    `SqsDestination` would also let the function's role read the queue's attributes and use its key.
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
        """Let Lambda, which uses the function's role, send to the queue."""
        iam.Grant.add_to_principal(
            grantee=fn, actions=["sqs:SendMessage"], resource_arns=[self._queue.queue_arn]
        )
        return lambda_.DestinationConfig(destination=self._queue.queue_arn)


class WorkloadFunction(Construct):
    """A Lambda function, the version of this deploy and the alias that schedulers invoke.

    Old versions stay: their running invocations continue, and pointing the alias back at one
    undoes a deploy. Nothing here deletes them; `make prune` of the kit does. With `snap_start` each
    of them has a snapshot, which is charged for until the version is deleted.
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
        variables = {**settings.environment, **variables_of_secrets(self, settings.secrets)}
        check_variables(self, variables)
        records = _FailureRecords(props.failures) if props.failures else None
        self.role = function_role(self, function_name=settings.name, log_group=self.log_group)
        for secret in settings.secrets.values():
            secret.grant_read(self.role)
        permit(self.role, settings.policies, settings.statements)
        if props.shared_files:
            props.shared_files.grant_use(self.role)
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
            # Lambda stops a task that invokes its own function again, through a queue or a bucket,
            # after about sixteen rounds. Otherwise the loop would cost money until somebody looks.
            # https://docs.aws.amazon.com/lambda/latest/dg/invocation-recursion.html
            recursive_loop=lambda_.RecursiveLoop.TERMINATE,
            # A version is published when its snapshot is made; CloudFormation waits for that.
            # https://docs.aws.amazon.com/lambda/latest/dg/snapstart-activate.html
            snap_start=(
                lambda_.SnapStartConf.ON_PUBLISHED_VERSIONS if settings.snap_start else None
            ),
            tenancy_config=lambda_.TenancyConfig.PER_TENANT if settings.tenant_isolation else None,
            environment=variables,
            environment_encryption=props.encryption_key,
            log_group=self.log_group,
            role=self.role,
            # Not RETAIN: a version that outlived the rollback of its deploy would block the next
            # try, because Lambda publishes nothing that equals the last version.
            # https://docs.aws.amazon.com/lambda/latest/api/API_PublishVersion.html
            current_version_options=lambda_.VersionOptions(
                removal_policy=cdk.RemovalPolicy.RETAIN_ON_UPDATE_OR_DELETE
            ),
            vpc=props.vpc,
            vpc_subnets=props.subnets,
            security_groups=list(props.security_groups) or None,
            filesystem=props.shared_files.of_function() if props.shared_files else None,
        )
        self._acknowledge()
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

    def _acknowledge(self) -> None:
        """Overrule two of the CDK's own checks, each by its name."""
        validations = cdk.Validations.of(self.function)
        validations.acknowledge(
            cdk.Acknowledgment(
                id="Annotation::@aws-cdk/aws-lambda:snapStartRequirePublish",
                reason="Each deploy publishes a version, and only that is invoked",
            ),
            # It knows the limit before, 900 s. `lambda_limits.py` has the source of the one of now.
            # The time-out is the only property that the rule is about.
            cdk.Acknowledgment(
                id="CloudFormation-Validate::E3717",
                reason=f"Lambda's longest time-out is {LONGEST_TIMEOUT_S} s",
            ),
        )

    def grant_dispatch(self, grantee: iam.IGrantable) -> iam.Grant:
        """Let a scheduler invoke the function, check it and read its log.

        Our executor's health check reads the configuration, the reference executor's reads the
        function; the doctor also reads the settings of asynchronous invocations.
        """
        check = [
            "lambda:GetAlias",
            "lambda:GetFunction",
            "lambda:GetFunctionConfiguration",
            "lambda:GetFunctionEventInvokeConfig",
        ]
        may_check = self._grant(grantee, check)
        may_read_log = read_log(self.log_group, grantee)
        return self.grant_invoke(grantee).combine(may_check).combine(may_read_log)

    def grant_invoke(self, grantee: iam.IGrantable) -> iam.Grant:
        """Let somebody invoke the function, which runs a task only with its token."""
        return self._grant(grantee, ["lambda:InvokeFunction"])

    def _grant(self, grantee: iam.IGrantable, actions: Sequence[str]) -> iam.Grant:
        arns = [self.function.function_arn, self.alias.function_arn]
        return iam.Grant.add_to_principal(grantee=grantee, actions=actions, resource_arns=arns)
