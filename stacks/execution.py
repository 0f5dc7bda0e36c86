"""Where workloads run, and the wiring that a scheduler needs to send them there.

Everything here may be replaced by any deploy; what must not be is in other stacks. It must not
know the executor beyond its option table.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from urllib.parse import urlsplit

import aws_cdk as cdk
from aws_cdk import aws_ec2 as ec2
from aws_cdk import aws_iam as iam
from aws_cdk import aws_lambda as lambda_
from aws_cdk import aws_logs as logs
from aws_cdk import aws_ssm as ssm
from constructs import Construct

from lambda_executor import options
from stacks.config import PLACEHOLDER_HOST, Architecture, StageConfig
from stacks.constructs.payload_bucket import PayloadBucket
from stacks.constructs.results_queue import ResultsQueue
from stacks.constructs.workload_function import WorkloadFunction, WorkloadFunctionProps
from stacks.stage import StageStack

_ARCHITECTURES: Mapping[Architecture, lambda_.Architecture] = {
    "x86_64": lambda_.Architecture.X86_64,
    "arm64": lambda_.Architecture.ARM_64,
}

#: CDK's names for the numbers of days.
_RETENTION = {
    1: logs.RetentionDays.ONE_DAY,
    3: logs.RetentionDays.THREE_DAYS,
    7: logs.RetentionDays.ONE_WEEK,
    14: logs.RetentionDays.TWO_WEEKS,
    30: logs.RetentionDays.ONE_MONTH,
    90: logs.RetentionDays.THREE_MONTHS,
    180: logs.RetentionDays.SIX_MONTHS,
    365: logs.RetentionDays.ONE_YEAR,
    731: logs.RetentionDays.TWO_YEARS,
    1827: logs.RetentionDays.FIVE_YEARS,
    3653: logs.RetentionDays.TEN_YEARS,
}


@dataclass(frozen=True, slots=True)
class Placement:
    """The VPC that the function runs in.

    Attributes:
        vpc: Has private subnets with a way out.
        security_group: The function's.
    """

    vpc: ec2.IVpc
    security_group: ec2.ISecurityGroup


class ExecutionStack(StageStack):
    """Function, queues, permissions and the parameter that wires an Airflow to them.

    Args:
        scope: The app.
        stage: The stage's name.
        config: The stage's configuration.
        code: The function's image.
        execution_api_url: The Execution API as the function reaches it.
        placement: The VPC that the function runs in; None: outside of any.
        synthesizer: Decides the repository that the image goes to.

    Attributes:
        queue: Results and dead letters.
    """

    def __init__(  # noqa: PLR0913 - the config and what other stacks made
        self,
        scope: Construct,
        *,
        stage: str,
        config: StageConfig,
        code: lambda_.DockerImageCode,
        execution_api_url: str,
        placement: Placement | None,
        synthesizer: cdk.IStackSynthesizer,
    ) -> None:
        super().__init__(
            scope,
            "execution",
            stage=stage,
            config=config,
            description="function, queues and wiring",
            synthesizer=synthesizer,
        )
        self.queue = ResultsQueue(
            self,
            "ResultsQueue",
            count=config.execution.results_queues,
            retention=cdk.Duration.seconds(config.execution.results_retention_s),
            visibility_timeout=cdk.Duration.seconds(config.execution.results_visibility_s),
            removal_policy=self.removal,
        )
        self._payloads = PayloadBucket(
            self, "PayloadBucket", prefix=options.PAYLOAD_PREFIX, removal_policy=self.removal
        )
        self._workload = self._function(config, code, execution_api_url, placement)
        self.queue.grant_send(self._workload.function)
        self._payloads.grant_take(self._workload.function)
        parameter = self._parameter(f"/airflow-lambda/{stage}/executor")
        policy, role = self._scheduler_access(parameter)
        self._outputs(
            {
                "ConfigParameterName": parameter.parameter_name,
                "ConfigLine": (
                    f"{options.CONFIG_PARAMETER.environment_variable}={parameter.parameter_name}"
                ),
                "FunctionName": self._workload.function.function_name,
                "FunctionAlias": self._workload.alias.alias_name,
                "ResultsQueueUrl": self.queue.results[0].queue_url,
                "DeadLetterQueueUrl": self.queue.dead_letters.queue_url,
                "PayloadBucketName": self._payloads.bucket.bucket_name,
                "LogGroupName": self._workload.log_group.log_group_name,
                "SchedulerPolicyArn": policy.managed_policy_arn,
                "SchedulerRoleArn": role.role_arn,
            }
        )
        if urlsplit(execution_api_url).hostname == PLACEHOLDER_HOST:
            cdk.Annotations.of(self).add_warning_v2(
                "airflow-lambda:placeholder",
                f"execution.execution_api_url is {execution_api_url}, the "
                "placeholder of cdk.json: no workload can run until it is your Airflow's",
            )

    def _function(
        self,
        config: StageConfig,
        code: lambda_.DockerImageCode,
        execution_api_url: str,
        placement: Placement | None,
    ) -> WorkloadFunction:
        settings = config.default_function
        return WorkloadFunction(
            self,
            "Workload",
            WorkloadFunctionProps(
                name=self.prefix,
                code=code,
                architecture=_ARCHITECTURES[settings.architecture],
                memory_mb=settings.memory_mb,
                timeout=cdk.Duration.seconds(settings.timeout_s),
                ephemeral_storage=cdk.Size.mebibytes(settings.ephemeral_storage_mb),
                reserved_concurrency=settings.reserved_concurrency,
                event_age=cdk.Duration.seconds(config.execution.event_age_s),
                dead_letter_queue=self.queue.dead_letters,
                environment={
                    options.QUEUE_URL.environment_variable: self.queue.results[0].queue_url,
                    options.PAYLOAD_BUCKET.environment_variable: self._payloads.bucket.bucket_name,
                    "AIRFLOW__CORE__EXECUTION_API_SERVER_URL": execution_api_url,
                },
                log_retention=_RETENTION[config.logs.retention_days],
                removal_policy=self.removal,
                vpc=placement.vpc if placement else None,
                security_groups=(placement.security_group,) if placement else (),
            ),
        )

    def _parameter(self, name: str) -> ssm.StringParameter:
        """Every option that the executor reads from here, by its name in the option table."""
        wired = {
            options.FUNCTION_NAME: self._workload.function.function_name,
            options.FUNCTION_QUALIFIER: self._workload.alias.alias_name,
            options.QUEUE_URL: self.queue.results[0].queue_url,
            options.QUEUE_URLS: self.to_json_string(
                [queue.queue_url for queue in self.queue.results]
            ),
            options.DEAD_LETTER_QUEUE_URL: self.queue.dead_letters.queue_url,
            options.LOG_GROUP: self._workload.log_group.log_group_name,
            options.PAYLOAD_BUCKET: self._payloads.bucket.bucket_name,
            options.REGION_NAME: self.region,
        }
        return ssm.StringParameter(
            self,
            "Executor",
            parameter_name=name,
            description="What lambda_executor.LambdaExecutor needs to use this stage",
            string_value=self.to_json_string(
                {option.name: wired[option] for option in options.WIRED_OPTIONS}
            ),
        )

    def _scheduler_access(
        self, parameter: ssm.StringParameter
    ) -> tuple[iam.ManagedPolicy, iam.Role]:
        """A policy for the role of an existing scheduler, and a role for one that has none."""
        policy = iam.ManagedPolicy(
            self,
            "SchedulerPolicy",
            description=f"What an Airflow scheduler needs to use {self.prefix}",
        )
        self._workload.grant_dispatch(policy)
        self.queue.grant_drain(policy)
        self._payloads.grant_put(policy)
        iam.Grant.add_to_principal(
            grantee=policy, actions=["ssm:GetParameter"], resource_arns=[parameter.parameter_arn]
        )
        role = iam.Role(
            self,
            "SchedulerRole",
            description=f"An Airflow scheduler that uses {self.prefix}",
            # Who in the account may assume it is said where those identities are managed.
            assumed_by=iam.AccountRootPrincipal(),
            managed_policies=[policy],
        )
        return policy, role

    def _outputs(self, values: Mapping[str, str]) -> None:
        for key, value in values.items():
            cdk.CfnOutput(self, key, value=value)
