"""The constructs alone, in an app without a stage or its configuration."""

from __future__ import annotations

from pathlib import Path

import aws_cdk as cdk
import pytest
from aws_cdk import aws_ec2 as ec2
from aws_cdk import aws_ecr as ecr
from aws_cdk import aws_iam as iam
from aws_cdk import aws_lambda as lambda_
from aws_cdk import aws_logs as logs
from aws_cdk import aws_rds as rds
from aws_cdk import aws_sqs as sqs
from aws_cdk.assertions import Match, Template

from airflow_lambda_constructs.airflow.airflow_database import AirflowDatabase, AirflowDatabaseProps
from airflow_lambda_constructs.execution.buckets import PayloadBucket
from airflow_lambda_constructs.execution.results_queue import ResultsQueue
from airflow_lambda_constructs.execution.workload_function import (
    FunctionProps,
    WorkloadFunction,
    WorkloadFunctionProps,
)

RETAIN = cdk.RemovalPolicy.RETAIN


@pytest.fixture
def stack(tmp_path: Path) -> cdk.Stack:
    """A stack of somebody else's app."""
    return cdk.Stack(cdk.App(outdir=str(tmp_path)), "Theirs")


def test_function_takes_a_dead_letter_queue_made_elsewhere(stack: cdk.Stack) -> None:
    """An imported queue serves as dead-letter queue, and the role may send to it."""
    arn = "arn:aws:sqs:eu-west-1:123456789012:theirs"
    image = ecr.Repository.from_repository_name(stack, "Images", "theirs")
    WorkloadFunction(
        stack,
        "Workload",
        WorkloadFunctionProps(
            settings=FunctionProps(
                name="theirs",
                code=lambda_.DockerImageCode.from_ecr(image, tag_or_digest="1"),
                architecture=lambda_.Architecture.ARM_64,
                memory_mb=512,
                timeout=cdk.Duration.seconds(60),
            ),
            event_age=cdk.Duration.minutes(5),
            dead_letter_queue=sqs.Queue.from_queue_arn(stack, "Imported", arn),
            log_retention=logs.RetentionDays.ONE_WEEK,
            removal_policy=RETAIN,
        ),
    )
    template = Template.from_stack(stack)
    template.has_resource_properties(
        "AWS::Lambda::Function", {"DeadLetterConfig": {"TargetArn": arn}}
    )
    template.has_resource_properties(
        "AWS::IAM::Policy",
        {
            "PolicyDocument": {
                "Statement": Match.array_with(
                    [{"Action": "sqs:SendMessage", "Effect": "Allow", "Resource": arn}]
                )
            }
        },
    )


def test_queue_can_be_drained_by_a_role_made_elsewhere(stack: cdk.Stack) -> None:
    """A scheduler's existing role can be granted what it needs."""
    queue = ResultsQueue(
        stack,
        "ResultsQueue",
        retention=cdk.Duration.days(1),
        visibility_timeout=cdk.Duration.minutes(1),
        removal_policy=RETAIN,
    )
    arn = "arn:aws:iam::123456789012:role/scheduler"
    queue.grant_drain(iam.Role.from_role_arn(stack, "Scheduler", arn))
    Template.from_stack(stack).has_resource_properties("AWS::IAM::Policy", {"Roles": ["scheduler"]})


def test_payloads_can_be_put_by_a_role_made_elsewhere(stack: cdk.Stack) -> None:
    """A scheduler's existing role can be granted to write below the prefix, and nothing else."""
    payloads = PayloadBucket(stack, "PayloadBucket", prefix="theirs/", removal_policy=RETAIN)
    arn = "arn:aws:iam::123456789012:role/scheduler"
    payloads.grant_put(iam.Role.from_role_arn(stack, "Scheduler", arn))
    objects = {"Fn::Join": ["", [{"Fn::GetAtt": [Match.any_value(), "Arn"]}, "/theirs/*"]]}
    Template.from_stack(stack).has_resource_properties(
        "AWS::IAM::Policy",
        {
            "PolicyDocument": {
                "Statement": [{"Action": "s3:PutObject", "Effect": "Allow", "Resource": objects}]
            },
            "Roles": ["scheduler"],
        },
    )


def test_database_goes_into_a_vpc_made_elsewhere(stack: cdk.Stack) -> None:
    """The database can be in an existing VPC and security group."""
    vpc = ec2.Vpc.from_vpc_attributes(
        stack,
        "Vpc",
        vpc_id="vpc-1",
        availability_zones=["eu-west-1a", "eu-west-1b"],
        isolated_subnet_ids=["subnet-1", "subnet-2"],
        isolated_subnet_route_table_ids=["rtb-1", "rtb-2"],
    )
    AirflowDatabase(
        stack,
        "Database",
        AirflowDatabaseProps(
            vpc=vpc,
            subnets=ec2.SubnetSelection(subnet_type=ec2.SubnetType.PRIVATE_ISOLATED),
            security_group=ec2.SecurityGroup.from_security_group_id(stack, "Group", "sg-1"),
            version=rds.PostgresEngineVersion.of("17", "17"),
            instance_type=ec2.InstanceType("t4g.micro"),
            storage_gb=20,
            database_name="airflow",
            multi_az=False,
            backup_retention=cdk.Duration.days(1),
            deletion_protection=True,
            removal_policy=RETAIN,
        ),
    )
    template = Template.from_stack(stack)
    template.has_resource_properties("AWS::RDS::DBSubnetGroup", {"SubnetIds": Match.any_value()})
    template.has_resource_properties("AWS::RDS::DBInstance", {"VPCSecurityGroups": ["sg-1"]})
