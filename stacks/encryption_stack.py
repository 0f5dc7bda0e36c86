"""The stage's own KMS key: what everything that it stores is encrypted with.

It must not know what is stored. Without it, or with a key that exists already, there is no such
stack; the other stacks know the key by its ARN (`StageStack.key`), so none of them changes its
policy.
"""

from __future__ import annotations

import aws_cdk as cdk
from aws_cdk import aws_iam as iam
from constructs import Construct

from airflow_lambda_constructs.execution.closed_key import closed_key
from stacks.stage.stage_stack import Stage, StageStack


class EncryptionStack(StageStack):
    """A KMS key that lives as long as anything that was encrypted with it."""

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
        cdk.CfnOutput(self, "KeyArn", value=key.key_arn)

    def _logs(self, *log_groups: str) -> iam.PolicyStatement:
        """CloudWatch Logs uses the key itself, and may do so for the stage's log groups only.

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
            resources=["*"],  # In a key's policy: this key.
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
