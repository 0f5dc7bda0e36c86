"""What outlives every deploy beside the database: logs of tasks, and DAG files that were pushed.

It must not know who runs the tasks.
"""

from __future__ import annotations

import aws_cdk as cdk
from aws_cdk import aws_iam as iam
from constructs import Construct

from airflow_lambda_constructs.execution.buckets import DagBucket, TaskLogBucket
from airflow_lambda_constructs.execution.task_logs import TaskLogGroup
from stacks.config import StageConfig
from stacks.stage.stage_stack import Stage, StageStack


class StorageStack(StageStack):
    """The task logs and the DAG bucket of a stage, as far as the stage wants them.

    Attributes:
        task_logs: Where tasks' logs go; None: nowhere.
        dags: Where DAG files are pushed to; None: they come from elsewhere.
    """

    def __init__(self, scope: Construct, stage: Stage) -> None:
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
        if self.task_logs:
            cdk.CfnOutput(self, "TaskLogFolder", value=self.task_logs.folder)
        if self.dags:
            self._tell_how_to_push(self.dags)

    @staticmethod
    def wanted(config: StageConfig) -> bool:
        """Whether there is anything to put into this stack."""
        return config.logs.remote != "none" or config.dags.source == "s3"

    @property
    def dags_uri(self) -> str | None:
        """Where DAG files are pushed to; None: nowhere."""
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

    def _tell_how_to_push(self, dags: DagBucket) -> None:
        policy = iam.ManagedPolicy(
            self,
            "DagPushPolicy",
            description=f"Push the DAG files of {self.stage.prefix}",
        )
        dags.grant_push(policy)
        cdk.CfnOutput(
            self,
            "DagsPushCommand",
            value=f"airflow lambda-executor dags push dags {dags.uri}",
            description="Makes the folder `dags` what the stage runs",
        )
        cdk.CfnOutput(
            self,
            "DagPushPolicyArn",
            value=policy.managed_policy_arn,
            description="For whoever pushes: a person, or a pipeline",
        )
