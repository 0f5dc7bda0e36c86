"""The AWS side of this example: the functions that its DAGs call, and their bucket.

They belong to you and not to the kit, so they have a stack of their own. The demo deploys it beside
the kit's stacks; in an account, `cdk deploy` does.
"""

from __future__ import annotations

from pathlib import Path

import aws_cdk as cdk
from aws_cdk import aws_lambda as lambda_
from aws_cdk import aws_s3 as s3

NAME = "calling-functions"
FUNCTIONS = Path(__file__).parent / "functions"


class CallingFunctions(cdk.Stack):
    """Four functions of one image, and the bucket that two of them use."""

    def __init__(self, scope: cdk.App) -> None:
        super().__init__(scope, NAME, description="Functions that DAGs call")
        bucket = s3.Bucket(
            self,
            "Bucket",
            bucket_name=f"{NAME}-{self.account}",
            block_public_access=s3.BlockPublicAccess.BLOCK_ALL,
            enforce_ssl=True,
            lifecycle_rules=[s3.LifecycleRule(expiration=cdk.Duration.days(7))],
            removal_policy=cdk.RemovalPolicy.DESTROY,
        )
        # What DAGs call at once at most: see dags/many_calls.py.
        self.function("total", reserved_concurrent_executions=2)
        self.function("invoice")
        bucket.grant_read_write(self.function("summarise", timeout=cdk.Duration.minutes(1)))
        bucket.grant_read_write(self.function("charge"))

    def function(
        self,
        handler: str,
        *,
        timeout: cdk.Duration | None = None,
        reserved_concurrent_executions: int | None = None,
    ) -> lambda_.DockerImageFunction:
        """One of the functions, with its own role."""
        return lambda_.DockerImageFunction(
            self,
            handler.capitalize(),
            function_name=f"{NAME}-{handler}",
            code=lambda_.DockerImageCode.from_image_asset(
                str(FUNCTIONS), cmd=[f"orders.{handler}"]
            ),
            timeout=timeout or cdk.Duration.seconds(30),
            memory_size=256,
            reserved_concurrent_executions=reserved_concurrent_executions,
        )


def build(app: cdk.App) -> None:
    """Put the stack into a CDK app."""
    CallingFunctions(app)


if __name__ == "__main__":
    app = cdk.App()
    build(app)
    app.synth()
