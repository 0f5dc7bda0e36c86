"""A log group for the logs of tasks that have ended; `buckets.TaskLogBucket` is the other choice.

Owns who may write and who may read; Airflow's own remote logging does both.
https://airflow.apache.org/docs/apache-airflow-providers-amazon/stable/logging/index.html
"""

from __future__ import annotations

import aws_cdk as cdk
from aws_cdk import aws_iam as iam
from aws_cdk import aws_kms as kms
from aws_cdk import aws_logs as logs
from constructs import Construct


class TaskLogGroup(Construct):
    """A log group with a stream for each try of a task.

    Args:
        name: The group's physical name.
        retention: How long a log is kept.
        removal_policy: What becomes of the group when it leaves the stack.
        encryption_key: None: a key of CloudWatch's own.

    Attributes:
        folder: What Airflow calls `[logging] remote_base_log_folder`.
    """

    def __init__(  # noqa: PLR0913 - keyword-only settings of one log group
        self,
        scope: Construct,
        id: str,
        *,
        name: str,
        retention: logs.RetentionDays,
        removal_policy: cdk.RemovalPolicy,
        encryption_key: kms.IKey | None = None,
    ) -> None:
        super().__init__(scope, id)
        self.log_group = logs.LogGroup(
            self,
            "Logs",
            log_group_name=name,
            retention=retention,
            removal_policy=removal_policy,
            encryption_key=encryption_key,
        )
        # Airflow takes the name out of the ARN, which CloudFormation ends with ":*".
        arn = cdk.Stack.of(self).format_arn(
            service="logs",
            resource="log-group",
            resource_name=name,
            arn_format=cdk.ArnFormat.COLON_RESOURCE_NAME,
        )
        self.folder = f"cloudwatch://{arn}"

    def grant_write(self, grantee: iam.IGrantable) -> iam.Grant:
        """Let functions write the logs of tasks."""
        return self.log_group.grant_write(grantee)

    def grant_write_of_triggers(self, grantee: iam.IGrantable) -> iam.Grant:
        """Let a triggerer write its part of the logs, with Airflow's own library.

        That insists that the group is there: it looks through the names of all groups, or makes
        this one and is told that it exists. The second takes no permission on anybody else's.
        """
        return self.log_group.grant(
            grantee, "logs:CreateLogGroup", "logs:CreateLogStream", "logs:PutLogEvents"
        )

    def grant_read(self, grantee: iam.IGrantable) -> iam.Grant:
        """Let whoever shows logs read them."""
        return self.log_group.grant(grantee, "logs:GetLogEvents")
