"""Your own CDK app, which runs the tasks of your Airflow on Lambda.

The VPC, the repository with the handler image and the schedulers' role exist already; the app adds
the constructs of `airflow-lambda-constructs`.
"""

from __future__ import annotations

import aws_cdk as cdk
from aws_cdk import aws_ec2 as ec2
from aws_cdk import aws_ecr as ecr
from aws_cdk import aws_iam as iam
from aws_cdk import aws_lambda as lambda_
from aws_cdk import aws_rds as rds
from constructs import Construct

from airflow_lambda_constructs import (
    AirflowDatabase,
    AirflowDatabaseProps,
    Alarms,
    AlarmTopic,
    EnvironmentDashboard,
    FunctionProps,
    InvocationMetrics,
    LambdaExecutorEnvironment,
    LambdaExecutorEnvironmentProps,
    WatchedDatabase,
    WatchedEnvironment,
    WatchedFunction,
)

#: The image's digest, because a tag can move.
IMAGE = "sha256:5f70bf18a086007016e948b04aed3b82103a36bea41755b6cddfaf10ace3c6ef"

EVENT_AGE = cdk.Duration.minutes(9)


class AirflowState(cdk.Stack):
    """Airflow's database, in an existing VPC."""

    def __init__(self, scope: Construct, id: str) -> None:
        super().__init__(scope, id, termination_protection=True)
        vpc = ec2.Vpc.from_vpc_attributes(
            self,
            "Vpc",
            vpc_id="vpc-0a1b2c3d",
            availability_zones=["eu-west-1a", "eu-west-1b"],
            isolated_subnet_ids=["subnet-0a1b2c3d", "subnet-4e5f6a7b"],
            isolated_subnet_route_table_ids=["rtb-0a1b2c3d", "rtb-4e5f6a7b"],
        )
        self.database = AirflowDatabase(
            self,
            "Database",
            AirflowDatabaseProps(
                vpc=vpc,
                subnets=ec2.SubnetSelection(subnet_type=ec2.SubnetType.PRIVATE_ISOLATED),
                security_group=ec2.SecurityGroup.from_security_group_id(
                    self, "Clients", "sg-0a1b2c3d"
                ),
                version=rds.PostgresEngineVersion.VER_17,
                instance_type=ec2.InstanceType("m7g.large"),
                storage_gb=100,
                database_name="airflow",
                multi_az=True,
                backup_retention=cdk.Duration.days(14),
                deletion_protection=True,
                removal_policy=cdk.RemovalPolicy.RETAIN,
            ),
        )


class AirflowWorkloads(cdk.Stack):
    """A function for Airflow's tasks, and a larger one for the queue `large`."""

    def __init__(self, scope: Construct, id: str, *, database: AirflowDatabase) -> None:
        super().__init__(scope, id)
        images = ecr.Repository.from_repository_name(self, "Images", "airflow-handler")
        code = lambda_.DockerImageCode.from_ecr(images, tag_or_digest=IMAGE)
        functions = (
            FunctionProps(code=code),
            FunctionProps(name="large", code=code, queues=("large",), memory_mb=8192),
        )
        environment = LambdaExecutorEnvironment(
            self,
            "Workloads",
            LambdaExecutorEnvironmentProps(
                name="etl",
                functions=functions,
                execution_api_url="https://airflow.example.com/execution/",
                parameter_name="/etl/executor",
                removal_policy=cdk.RemovalPolicy.RETAIN,
                event_age=EVENT_AGE,
            ),
        )
        scheduler = iam.Role.from_role_name(self, "Scheduler", "airflow-scheduler")
        environment.scheduler_policy.attach_to_role(scheduler)
        cdk.CfnOutput(self, "ConfigLine", value=environment.config_line)
        self._watch(functions, environment, database)

    def _watch(
        self,
        functions: tuple[FunctionProps, ...],
        environment: LambdaExecutorEnvironment,
        database: AirflowDatabase,
    ) -> None:
        watched = WatchedEnvironment(
            name="etl",
            functions=tuple(
                WatchedFunction(
                    name=props.name,
                    function=workload.function,
                    invocations=InvocationMetrics(
                        self,
                        f"Metrics{props.name.title()}",
                        log_group=workload.log_group,
                        namespace=f"Etl/{props.name}",
                    ),
                    timeout=props.timeout,
                    event_age=EVENT_AGE,
                )
                for props, workload in zip(functions, environment.functions, strict=True)
            ),
            results=environment.queue.results,
            dead_letters=environment.queue.dead_letters,
            database=WatchedDatabase(instance=database.instance, storage_gb=100),
        )
        topic = AlarmTopic(self, "AlarmTopic", email="oncall@example.com")
        Alarms(
            self,
            "Alarms",
            environment=watched,
            runbook="https://wiki.example.com/airflow-on-lambda",
            actions=[topic.action],
        )
        EnvironmentDashboard(
            self,
            "Dashboard",
            environment=watched,
            runbook="https://wiki.example.com/airflow-on-lambda",
        )


def build(app: cdk.App) -> None:
    """Add the stacks."""
    state = AirflowState(app, "AirflowState")
    AirflowWorkloads(app, "AirflowWorkloads", database=state.database)


if __name__ == "__main__":
    the_app = cdk.App()
    build(the_app)
    the_app.synth()
