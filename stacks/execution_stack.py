"""The functions and targets that run workloads, and the wiring that a scheduler needs to use them.

Any deploy may replace every resource here; resources that must stay are in other stacks.
"""

from __future__ import annotations

from collections.abc import Mapping

import aws_cdk as cdk
from aws_cdk import aws_iam as iam
from constructs import Construct

from airflow_lambda_constructs.execution.buckets import DagBucket
from airflow_lambda_constructs.execution.lambda_executor_environment import (
    LambdaExecutorEnvironment,
    LambdaExecutorEnvironmentProps,
)
from airflow_lambda_constructs.names import in_ids
from stacks.config import StageConfig
from stacks.network_stack import NetworkStack
from stacks.stage.functions import function_props
from stacks.stage.image import StageImage
from stacks.stage.stage_stack import Stage, StageStack
from stacks.stage.targets import target_props
from stacks.storage_stack import StorageStack
from stacks.wiring.forms import Wiring, dag_settings, remote_logging_settings
from stacks.wiring.parameter import hand_out, secrets_policy


class ExecutionStack(StageStack):
    """Functions, targets, queues, permissions and the parameter that wires an Airflow to them.

    Without `network.function_in_vpc` the functions run outside any VPC.
    """

    def __init__(  # noqa: PLR0913 - the config and what other stacks made
        self,
        scope: Construct,
        stage: Stage,
        *,
        image: StageImage,
        execution_api_url: str,
        storage: StorageStack | None,
        network: NetworkStack | None,
        synthesizer: cdk.IStackSynthesizer | None,
    ) -> None:
        super().__init__(
            scope,
            "execution",
            stage,
            description="functions, queues and wiring",
            synthesizer=synthesizer,
        )
        settings = stage.config.execution
        group = network.function_security_group if network else None
        self.function_settings = function_props(self, image)
        # The CDK leaves an id "Default" out of logical ids.
        self.executor_environment = LambdaExecutorEnvironment(
            self,
            "Default",
            LambdaExecutorEnvironmentProps(
                name=stage.prefix,
                functions=self.function_settings,
                execution_api_url=execution_api_url,
                parameter_name=stage.path("executor"),
                removal_policy=self.removal,
                log_retention=stage.log_retention,
                environment=_variables(stage.config, storage),
                results_queues=settings.results_queues,
                results_retention=cdk.Duration.seconds(settings.results_retention_s),
                results_visibility=cdk.Duration.seconds(settings.results_visibility_s),
                event_age=cdk.Duration.seconds(settings.event_age_s),
                encryption_key=self.key,
                vpc=network.vpc if network and group else None,
                subnets=network.private_subnets if network and group else None,
                security_groups=network.with_endpoints(group) if network and group else (),
                targets=target_props(
                    self, image, micro_vms=network.of_micro_vms if network else None
                ),
                target_network=network.of_containers if network else None,
                shared_files=storage.shared_files if storage else None,
            ),
        )
        if storage:
            self._permit(storage)
        self.secrets_policy = secrets_policy(self, stage.name, self.key)
        if stage.config.control_plane.kind == "none":
            self._hand_out(execution_api_url, storage)
        self._outputs()

    def _permit(self, storage: StorageStack) -> None:
        environment = self.executor_environment
        workloads: list[iam.IGrantable] = [each.function for each in environment.functions]
        workloads += [target.role for target in environment.targets]
        for workload in workloads:
            if storage.task_logs:
                storage.task_logs.grant_write(workload)
            if storage.dags:
                storage.dags.grant_read(workload)
        if storage.task_logs:
            storage.task_logs.grant_read(self.executor_environment.scheduler_policy)

    def _hand_out(self, execution_api_url: str, storage: StorageStack | None) -> None:
        """Make a role and hand out the settings for an Airflow elsewhere."""
        role = iam.Role(
            self,
            "SchedulerRole",
            description=f"An Airflow scheduler that uses {self.stage.prefix}",
            # The account's own IAM policies decide which identities may assume it.
            assumed_by=iam.AccountRootPrincipal(),
            managed_policies=[self.executor_environment.scheduler_policy],
        )
        self.output("SchedulerRoleArn", role.role_arn)
        dag_policy = self._dag_policy(storage.dags) if storage and storage.dags else None
        if dag_policy:
            role.add_managed_policy(dag_policy)
        hand_out(
            self,
            Wiring(
                stage=self.stage.name,
                region=self.region,
                config_parameter=self.executor_environment.config_parameter.parameter_name,
                remote_log_folder=storage.remote_log_folder if storage else None,
                dags_uri=storage.dags_uri if storage else None,
                dag_policy_arn=dag_policy.managed_policy_arn if dag_policy else None,
                execution_api_url=execution_api_url,
                scheduler_policy_arn=self.executor_environment.scheduler_policy.managed_policy_arn,
                secrets_policy_arn=self.secrets_policy.managed_policy_arn,
                task_queued_timeout_s=self.config.execution.task_queued_timeout_s,
                parallelism=self.config.execution.parallelism,
            ),
        )

    def _dag_policy(self, dags: DagBucket) -> iam.ManagedPolicy:
        """Make a policy for the DAG processor of an Airflow elsewhere."""
        policy = iam.ManagedPolicy(
            self, "DagReadPolicy", description=f"Read the DAG files of {self.stage.prefix}"
        )
        dags.grant_read(policy)
        self.output(
            "DagReadPolicyArn", policy.managed_policy_arn, "For the role of your DAG processor"
        )
        return policy

    def _outputs(self) -> None:
        environment, default = self.executor_environment, self.executor_environment.functions[0]
        values = {
            "ConfigParameterName": environment.config_parameter.parameter_name,
            "ConfigLine": environment.config_line,
            "FunctionName": default.function.function_name,
            "FunctionAlias": default.alias.alias_name,
            "ResultsQueueUrl": environment.queue.results[0].queue_url,
            "DeadLetterQueueUrl": environment.queue.dead_letters.queue_url,
            "FailuresQueueUrl": environment.queue.failures.queue_url,
            "PayloadBucketName": environment.payloads.bucket.bucket_name,
            "LogGroupName": default.log_group.log_group_name,
            "SchedulerPolicyArn": environment.scheduler_policy.managed_policy_arn,
            "PagePolicyArn": environment.page_policy.managed_policy_arn,
            "SecretsPolicyArn": self.secrets_policy.managed_policy_arn,
        }
        for key, value in values.items():
            self.output(key, value)
        snapshots = any(settings.snap_start for settings in self.function_settings)
        if snapshots or any(target.service == "microvm" for target in environment.targets):
            # The CDK prints outputs at the end of each deploy.
            self.output(
                "OldVersions",
                f"make prune STAGE={self.stage.name} deletes them: the snapshot of each is charged "
                "for until then",
            )
        first, *others = zip(self.function_settings, environment.functions, strict=True)
        self.output("FunctionRoleArn", first[1].role.role_arn, "Role of the tasks")
        for settings, workload in others:
            name = in_ids(settings.name)
            self.output(
                f"FunctionRoleArn{name}",
                workload.role.role_arn,
                f"Role of the tasks of the function {settings.name}",
            )
        for target_config, target in zip(self.config.targets, environment.targets, strict=True):
            name = in_ids(target_config.name)
            self.output(
                f"TargetRoleArn{name}",
                target.role.role_arn,
                f"Role of the tasks of the target {target_config.name}",
            )


def _variables(config: StageConfig, storage: StorageStack | None) -> Mapping[str, str]:
    """Return the variables of every function: the sources of DAG files, and remote logging."""
    variables = dict(remote_logging_settings(storage.remote_log_folder if storage else None))
    variables.update(dag_settings(config, storage.dags_uri if storage else None))
    return variables
