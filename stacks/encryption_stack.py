"""The stage's own KMS key, which encrypts all its data.

The other stacks know the key only by its ARN (`StageStack.key`), so none of them changes its
policy. A stage with AWS's keys or an existing key does not have this stack.
"""

from __future__ import annotations

import aws_cdk as cdk
from aws_cdk import aws_iam as iam
from constructs import Construct

from airflow_lambda_constructs.execution.closed_key import closed_key
from stacks.stage.stage_stack import Stage, StageStack


class EncryptionStack(StageStack):
    """A KMS key that lives as long as the data encrypted with it."""

    def __init__(self, scope: Construct, stage: Stage) -> None:
        super().__init__(scope, "encryption", stage, description="the key of its data")
        key = closed_key(
            self,
            "Key",
            description=f"What the stage {stage.name} of Airflow on Lambda stores",
            services=[
                self._logs(
                    stage.path("*"),
                    f"/aws/lambda/{stage.prefix}*",
                    f"/aws/rds/proxy/{stage.prefix}",
                )
            ],
            removal_policy=self.removal,
        )
        self.key_arn = key.key_arn
        self.output("KeyArn", key.key_arn)

    def _logs(self, *log_groups: str) -> iam.PolicyStatement:
        """CloudWatch Logs may use the key itself, but only for the stage's log groups.

        https://docs.aws.amazon.com/AmazonCloudWatch/latest/logs/encrypt-log-data-kms.html
        """
        return iam.PolicyStatement(
            sid="Logs",
            principals=[iam.ServicePrincipal(f"logs.{self.region}.amazonaws.com")],
            actions=[
                "kms:Decrypt",
                "kms:DescribeKey",
                "kms:Encrypt",
                "kms:GenerateDataKey",
                "kms:GenerateDataKeyWithoutPlaintext",
                "kms:ReEncryptFrom",
                "kms:ReEncryptTo",
            ],
            resources=["*"],  # In a key's policy this is the key itself.
            conditions={
                "ArnLike": {
                    "kms:EncryptionContext:aws:logs:arn": [
                        self.format_arn(
                            service="logs",
                            resource="log-group",
                            resource_name=name,
                            arn_format=cdk.ArnFormat.COLON_RESOURCE_NAME,
                        )
                        for name in log_groups
                    ]
                }
            },
        )
