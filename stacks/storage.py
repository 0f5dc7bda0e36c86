"""What outlives every deploy beside the database: logs of tasks, and DAG files that were pushed.

It must not know who runs the tasks.
"""

from __future__ import annotations

import aws_cdk as cdk
from aws_cdk import aws_iam as iam
from aws_cdk import aws_s3 as s3
from constructs import Construct

from stacks.config import StageConfig
from stacks.constructs.dag_bucket import DagBucket
from stacks.constructs.task_logs import TaskLogBucket, TaskLogGroup
from stacks.retention import RETENTION
from stacks.stage import StageStack


class StorageStack(StageStack):
    """The task logs and the DAG bucket of a stage, as far as the stage wants them.

    Args:
        scope: The app.
        stage: The stage's name.
        config: The stage's configuration.
        key_arn: Of the stage's KMS key; None: keys of AWS's own.

    Attributes:
        task_logs: Where tasks' logs go; None: nowhere.
        dags: Where DAG files are pushed to; None: they come from elsewhere.
    """

    def __init__(
        self,
        scope: Construct,
        *,
        stage: str,
        config: StageConfig,
        key_arn: str | None = None,
    ) -> None:
        super().__init__(
            scope,
            "storage",
            stage=stage,
            config=config,
            description="logs of tasks and pushed DAG files",
            key_arn=key_arn,
        )
        self.task_logs = self._task_logs(stage, config)
        self.dags = (
            DagBucket(
                self,
                "DagBucket",
                key=config.dags.s3_key,
                removal_policy=self.removal,
                encryption_key=self.key,
            )
            if config.dags.source == "s3"
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
    def logs_bucket(self) -> s3.IBucket | None:
        """The bucket of task logs; None: they go elsewhere, or nowhere."""
        return self.task_logs.bucket if isinstance(self.task_logs, TaskLogBucket) else None

    @property
    def dags_bucket(self) -> s3.IBucket | None:
        """The bucket of DAG files; None: there is none."""
        return self.dags.bucket if self.dags else None

    @property
    def dags_uri(self) -> str | None:
        """Where DAG files are pushed to; None: nowhere."""
        return self.dags.uri if self.dags else None

    @property
    def remote_log_folder(self) -> str | None:
        """Airflow's `[logging] remote_base_log_folder`; None: no remote logging."""
        return self.task_logs.folder if self.task_logs else None

    def _task_logs(self, stage: str, config: StageConfig) -> TaskLogBucket | TaskLogGroup | None:
        days = config.logs.retention_days
        if config.logs.remote == "s3":
            return TaskLogBucket(
                self,
                "TaskLogs",
                retention=cdk.Duration.days(days),
                removal_policy=self.removal,
                encryption_key=self.key,
            )
        if config.logs.remote == "cloudwatch":
            return TaskLogGroup(
                self,
                "TaskLogs",
                name=f"/airflow-lambda/{stage}/task-logs",
                retention=RETENTION[days],
                removal_policy=self.removal,
                encryption_key=self.key,
            )
        return None

    def _tell_how_to_push(self, dags: DagBucket) -> None:
        policy = iam.ManagedPolicy(
            self,
            "DagPushPolicy",
            description=f"Push the DAG files of {self.prefix}",
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
