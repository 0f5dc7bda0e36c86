"""A log group for the logs of finished tasks; `buckets.TaskLogBucket` is the alternative.

Airflow's own remote logging writes and reads the logs.
https://airflow.apache.org/docs/apache-airflow-providers-amazon/stable/logging/index.html
"""

from __future__ import annotations

import aws_cdk as cdk
from aws_cdk import aws_iam as iam
from aws_cdk import aws_kms as kms
from aws_cdk import aws_logs as logs
from constructs import Construct


class TaskLogGroup(Construct):
    """A log group of task logs; `folder` is Airflow's `[logging] remote_base_log_folder`."""

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
        # Airflow takes the name from the ARN; the ARN that CloudFormation returns ends with ":*".
        arn = cdk.Stack.of(self).format_arn(
            service="logs",
            resource="log-group",
            resource_name=name,
            arn_format=cdk.ArnFormat.COLON_RESOURCE_NAME,
        )
        self.folder = f"cloudwatch://{arn}"

    def grant_write(self, grantee: iam.IGrantable) -> iam.Grant:
        """Let functions write task logs."""
        return self.log_group.grant_write(grantee)

    def grant_write_of_triggers(self, grantee: iam.IGrantable) -> iam.Grant:
        """Let a triggerer write its part of the logs with Airflow's own library.

        The library first makes sure that the group exists: by listing the names of all groups, or
        by creating this one and ignoring that it exists. The latter needs no permission on other
        groups.
        """
        return self.log_group.grant(
            grantee, "logs:CreateLogGroup", "logs:CreateLogStream", "logs:PutLogEvents"
        )

    def grant_read(self, grantee: iam.IGrantable) -> iam.Grant:
        """Let an api-server or a scheduler read the logs."""
        return self.log_group.grant(grantee, "logs:GetLogEvents")
