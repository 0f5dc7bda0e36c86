"""Task logs, pushed DAG files and shared files, which outlive every deploy."""

from __future__ import annotations

import shlex

import aws_cdk as cdk
from aws_cdk import aws_iam as iam
from constructs import Construct

from airflow_lambda_constructs.execution.buckets import DagBucket, TaskLogBucket
from airflow_lambda_constructs.execution.shared_files import SharedFiles
from airflow_lambda_constructs.execution.task_logs import TaskLogGroup
from stacks.config import StageConfig
from stacks.network_stack import NetworkStack
from stacks.stage.stage_stack import Stage, StageStack


class StorageStack(StageStack):
    """Task logs, DAG bucket and shared files of a stage, each None if the stage does not use it."""

    def __init__(self, scope: Construct, stage: Stage, *, network: NetworkStack | None) -> None:
        super().__init__(scope, "storage", stage, description="logs of tasks and pushed DAG files")
        dags = stage.config.dags
        self.task_logs = self._task_logs()
        self.dags = (
            DagBucket(
                self,
                "DagBucket",
                key=dags.s3_key,
                removal_policy=self.removal,
                encryption_key=self.key,
            )
            if dags.source == "s3"
            else None
        )
        mount = self.config.shared_files.mount
        self.shared_files = self._shared_files(mount, network) if mount and network else None
        if self.task_logs:
            self.output("TaskLogFolder", self.task_logs.folder)
        if self.dags:
            self._output_push_command(self.dags)

    @staticmethod
    def wanted(config: StageConfig) -> bool:
        """Whether the stage needs this stack."""
        return (
            config.logs.remote != "none"
            or config.dags.source == "s3"
            or config.shared_files.mount is not None
        )

    @property
    def dags_uri(self) -> str | None:
        """S3 URI of the pushed DAG files; None: DAG files come from elsewhere."""
        return self.dags.uri if self.dags else None

    @property
    def remote_log_folder(self) -> str | None:
        """Airflow's `[logging] remote_base_log_folder`; None: no remote logging."""
        return self.task_logs.folder if self.task_logs else None

    def _task_logs(self) -> TaskLogBucket | TaskLogGroup | None:
        settings = self.config.logs
        if settings.remote == "s3":
            return TaskLogBucket(
                self,
                "TaskLogs",
                retention=cdk.Duration.days(settings.retention_days),
                removal_policy=self.removal,
                encryption_key=self.key,
            )
        if settings.remote == "cloudwatch":
            return TaskLogGroup(
                self,
                "TaskLogs",
                name=self.stage.path("task-logs"),
                retention=self.stage.log_retention,
                removal_policy=self.removal,
                encryption_key=self.key,
            )
        return None

    def _shared_files(self, mount: str, network: NetworkStack) -> SharedFiles:
        return SharedFiles(
            self,
            "SharedFiles",
            mount=mount,
            vpc=network.vpc,
            subnets=network.private_subnets,
            # The containers carry the functions' security group.
            clients=[group for group in (network.function_security_group,) if group],
            removal_policy=self.removal,
            encryption_key=self.key,
        )

    def _output_push_command(self, dags: DagBucket) -> None:
        policy = iam.ManagedPolicy(
            self,
            "DagPushPolicy",
            description=f"Push the DAG files of {self.stage.prefix}",
        )
        dags.grant_push(policy)
        folder = self.config.image.dags
        self.output(
            "DagsPushCommand",
            f"airflow lambda-executor dags push {shlex.quote(folder)} {dags.uri}",
            f"Makes the folder {folder} what the stage runs",
        )
        self.output(
            "DagPushPolicyArn",
            policy.managed_policy_arn,
            "For whoever pushes: a person, or a pipeline",
        )
