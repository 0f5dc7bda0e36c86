"""The AWS side of this example: a cluster for Fargate and a task definition.

They belong to you and not to the kit, so they have a stack of their own. The demo deploys it beside
the kit's stacks; in an account, `cdk deploy` does.
"""

from __future__ import annotations

from pathlib import Path

import aws_cdk as cdk
from aws_cdk import aws_ec2 as ec2
from aws_cdk import aws_ecs as ecs
from aws_cdk import aws_logs as logs
from aws_cdk import aws_ssm as ssm

NAME = "ecs-odd-even"
CONTAINER = Path(__file__).parent / "container"


class OddEven(cdk.Stack):
    """A network without NAT gateways, a cluster, a task definition, and its log group."""

    def __init__(self, scope: cdk.App) -> None:
        super().__init__(scope, NAME, description="A cluster for the tasks of a DAG")
        vpc = ec2.Vpc(
            self,
            "Vpc",
            max_azs=2,
            nat_gateways=0,
            subnet_configuration=[
                ec2.SubnetConfiguration(name="public", subnet_type=ec2.SubnetType.PUBLIC)
            ],
            restrict_default_security_group=False,
        )
        group = ec2.SecurityGroup(self, "Tasks", vpc=vpc, description="Tasks: only outgoing calls")
        ecs.Cluster(self, "Cluster", vpc=vpc, cluster_name=NAME)
        definition = ecs.FargateTaskDefinition(
            self, "Definition", family=NAME, cpu=256, memory_limit_mib=512
        )
        definition.add_container(
            "main",
            image=ecs.ContainerImage.from_asset(str(CONTAINER)),
            logging=ecs.LogDrivers.aws_logs(
                stream_prefix=NAME,
                log_group=logs.LogGroup(
                    self,
                    "Log",
                    log_group_name=f"/{NAME}",
                    retention=logs.RetentionDays.ONE_WEEK,
                    removal_policy=cdk.RemovalPolicy.DESTROY,
                ),
            ),
        )
        # The caller of RunTask names the network, so the DAG reads it from here.
        ssm.StringParameter(
            self,
            "Network",
            parameter_name=f"/{NAME}/network",
            string_value=self.to_json_string(
                {
                    "subnets": vpc.select_subnets(subnet_type=ec2.SubnetType.PUBLIC).subnet_ids,
                    "securityGroups": [group.security_group_id],
                    # A public address instead of a NAT gateway, to pull the image.
                    "assignPublicIp": "ENABLED",
                }
            ),
        )


def build(app: cdk.App) -> None:
    """Put the stack into a CDK app."""
    OddEven(app)


if __name__ == "__main__":
    app = cdk.App()
    build(app)
    app.synth()
