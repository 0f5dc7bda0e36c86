"""Where workloads run, and the wiring that a scheduler needs to send them there.

Everything here may be replaced by any deploy; what must not be is in other stacks. It must not
know the executor beyond its option table.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from urllib.parse import urlsplit

import aws_cdk as cdk
from aws_cdk import aws_iam as iam
from aws_cdk import aws_ssm as ssm
from constructs import Construct

from lambda_executor import options
from stacks.config import PLACEHOLDER_HOST, StageConfig
from stacks.constructs.payload_bucket import PayloadBucket
from stacks.constructs.results_queue import ResultsQueue
from stacks.functions import Placement, by_queue, functions_of
from stacks.image import StageImage
from stacks.stage import StageStack
from stacks.storage import StorageStack
from stacks.wiring import hand_out, secrets_policy
from stacks.wiring_forms import Wiring, remote_logging_settings


class ExecutionStack(StageStack):
    """Functions, queues, permissions and the parameter that wires an Airflow to them.

    Args:
        scope: The app.
        stage: The stage's name.
        config: The stage's configuration.
        image: What the functions run from.
        execution_api_url: The Execution API as the functions reach it.
        storage: Logs of tasks and DAG files; None: the stage has none of its own.
        placement: The VPC that the functions run in; None: outside of any.
        synthesizer: Decides the repository that the image goes to; None: there is none.
        key_arn: Of the stage's KMS key.

    Attributes:
        queue: Results, dead letters and failures.
        config_parameter: The executor's options.
        scheduler_policy: What a scheduler needs.
        secrets_policy: What reads connections and variables of the stage in Secrets Manager.
    """

    def __init__(  # noqa: PLR0913 - the config and what other stacks made
        self,
        scope: Construct,
        *,
        stage: str,
        config: StageConfig,
        image: StageImage,
        execution_api_url: str,
        storage: StorageStack | None,
        placement: Placement | None,
        synthesizer: cdk.IStackSynthesizer | None,
        key_arn: str | None = None,
    ) -> None:
        super().__init__(
            scope,
            "execution",
            stage=stage,
            config=config,
            description="functions, queues and wiring",
            synthesizer=synthesizer,
            key_arn=key_arn,
        )
        self.queue = ResultsQueue(
            self,
            "ResultsQueue",
            count=config.execution.results_queues,
            retention=cdk.Duration.seconds(config.execution.results_retention_s),
            visibility_timeout=cdk.Duration.seconds(config.execution.results_visibility_s),
            removal_policy=self.removal,
            encryption_key=self.key,
        )
        self._payloads = PayloadBucket(
            self,
            "PayloadBucket",
            prefix=options.PAYLOAD_PREFIX,
            removal_policy=self.removal,
            encryption_key=self.key,
        )
        self._functions = functions_of(
            self,
            config,
            image=image,
            queue=self.queue,
            environment=self._environment(config, execution_api_url, storage),
            placement=placement,
        )
        self._permit_functions(storage)
        self.config_parameter = self._parameter(f"/airflow-lambda/{stage}/executor")
        self.scheduler_policy = self._scheduler_policy(storage)
        self.secrets_policy = secrets_policy(self, stage)
        if config.control_plane.kind == "none":
            self._hand_out(stage, config, execution_api_url, storage)
        self._outputs()
        if urlsplit(execution_api_url).hostname == PLACEHOLDER_HOST:
            cdk.Annotations.of(self).add_warning_v2(
                "airflow-lambda:placeholder",
                f"execution.execution_api_url is {execution_api_url}, the placeholder of "
                "cdk.json: no workload can run until it is your Airflow's",
            )

    def _environment(
        self, config: StageConfig, execution_api_url: str, storage: StorageStack | None
    ) -> Mapping[str, str]:
        """Variables of every function; no secret is among them."""
        variables = {
            options.QUEUE_URL.environment_variable: self.queue.results[0].queue_url,
            options.PAYLOAD_BUCKET.environment_variable: self._payloads.bucket.bucket_name,
            "AIRFLOW__CORE__EXECUTION_API_SERVER_URL": execution_api_url,
            **remote_logging_settings(storage.remote_log_folder if storage else None),
        }
        if storage and storage.dags_uri:
            variables[options.DAGS_S3_URI.environment_variable] = storage.dags_uri
        if config.dags.source == "bundle":
            variables["AIRFLOW__DAG_PROCESSOR__DAG_BUNDLE_CONFIG_LIST"] = json.dumps(
                [bundle.model_dump() for bundle in config.dags.bundles]
            )
        return variables

    def _permit_functions(self, storage: StorageStack | None) -> None:
        for served in self._functions:
            function = served.workload.function
            self.queue.grant_send(function)
            self._payloads.grant_take(function)
            if storage and storage.task_logs:
                storage.task_logs.grant_write(function)
            if storage and storage.dags:
                storage.dags.grant_read(function)

    def _parameter(self, name: str) -> ssm.StringParameter:
        """Every option that the executor reads from here, by its name in the option table."""
        default = self._functions[0].workload
        wired = {
            options.FUNCTION_NAME: default.function.function_name,
            options.FUNCTION_QUALIFIER: default.alias.alias_name,
            options.FUNCTIONS: self.to_json_string(by_queue(self._functions)),
            options.QUEUE_URL: self.queue.results[0].queue_url,
            options.QUEUE_URLS: self.to_json_string(
                [queue.queue_url for queue in self.queue.results]
            ),
            options.DEAD_LETTER_QUEUE_URL: self.queue.dead_letters.queue_url,
            options.LOG_GROUP: default.log_group.log_group_name,
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

    def _hand_out(
        self,
        stage: str,
        config: StageConfig,
        execution_api_url: str,
        storage: StorageStack | None,
    ) -> None:
        """For the Airflow that is somewhere else."""
        hand_out(
            self,
            Wiring(
                stage=stage,
                region=self.region,
                config_parameter=self.config_parameter.parameter_name,
                remote_log_folder=storage.remote_log_folder if storage else None,
                execution_api_url=execution_api_url,
                scheduler_policy_arn=self.scheduler_policy.managed_policy_arn,
                secrets_policy_arn=self.secrets_policy.managed_policy_arn,
                task_queued_timeout_s=config.execution.task_queued_timeout_s,
                parallelism=config.execution.parallelism,
            ),
        )

    def _scheduler_policy(self, storage: StorageStack | None) -> iam.ManagedPolicy:
        """For the role of a scheduler, whoever runs it, and of what shows the logs."""
        policy = iam.ManagedPolicy(
            self,
            "SchedulerPolicy",
            description=f"What an Airflow scheduler needs to use {self.prefix}",
        )
        for served in self._functions:
            served.workload.grant_dispatch(policy)
        self.queue.grant_drain(policy)
        self._payloads.grant_put(policy)
        iam.Grant.add_to_principal(
            grantee=policy,
            actions=["ssm:GetParameter"],
            resource_arns=[self.config_parameter.parameter_arn],
        )
        if storage and storage.task_logs:
            storage.task_logs.grant_read(policy)
        return policy

    def _outputs(self) -> None:
        default, parameter = self._functions[0].workload, self.config_parameter
        role = iam.Role(
            self,
            "SchedulerRole",
            description=f"An Airflow scheduler that uses {self.prefix}",
            # Who in the account may assume it is said where those identities are managed.
            assumed_by=iam.AccountRootPrincipal(),
            managed_policies=[self.scheduler_policy],
        )
        values = {
            "ConfigParameterName": parameter.parameter_name,
            "ConfigLine": (
                f"{options.CONFIG_PARAMETER.environment_variable}={parameter.parameter_name}"
            ),
            "FunctionName": default.function.function_name,
            "FunctionAlias": default.alias.alias_name,
            "ResultsQueueUrl": self.queue.results[0].queue_url,
            "DeadLetterQueueUrl": self.queue.dead_letters.queue_url,
            "FailuresQueueUrl": self.queue.failures.queue_url,
            "PayloadBucketName": self._payloads.bucket.bucket_name,
            "LogGroupName": default.log_group.log_group_name,
            "SchedulerPolicyArn": self.scheduler_policy.managed_policy_arn,
            "SchedulerRoleArn": role.role_arn,
            "SecretsPolicyArn": self.secrets_policy.managed_policy_arn,
        }
        for key, value in values.items():
            cdk.CfnOutput(self, key, value=value)
