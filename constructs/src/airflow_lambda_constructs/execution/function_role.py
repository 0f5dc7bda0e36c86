"""The role of a function that runs workloads."""

from __future__ import annotations

import aws_cdk as cdk
from aws_cdk import aws_iam as iam
from aws_cdk import aws_logs as logs
from constructs import Construct

from airflow_lambda_constructs.acknowledge import acknowledge_any_resource

#: The actions by which Lambda, with the function's role, attaches the function to a VPC.
#: https://docs.aws.amazon.com/lambda/latest/dg/configuration-vpc.html#configuration-vpc-permissions
_VPC_ACTIONS = [
    "ec2:AssignPrivateIpAddresses",
    "ec2:CreateNetworkInterface",
    "ec2:DeleteNetworkInterface",
    "ec2:DescribeNetworkInterfaces",
    "ec2:DescribeSubnets",
    "ec2:UnassignPrivateIpAddresses",
]


def function_role(scope: Construct, *, function_name: str, log_group: logs.ILogGroup) -> iam.Role:
    """Make a role without Lambda's managed policies, which allow writing to any log group.

    The role cannot create the log group either, so a late invocation does not bring it back.

    It lets Lambda attach the function to a VPC even if the function is in none: when a function
    leaves its VPC, Lambda removes the network interfaces with this role some time later, and those
    of an old version only once that version is deleted.
    https://docs.aws.amazon.com/lambda/latest/dg/configuration-vpc.html#configuration-vpc-permissions
    """
    role = iam.Role(scope, "Role", assumed_by=iam.ServicePrincipal("lambda.amazonaws.com"))
    log_group.grant_write(role)
    _let_lambda_attach_to_vpc(role, function_name)
    return role


def _let_lambda_attach_to_vpc(role: iam.Role, function_name: str) -> None:
    # These actions have no resource-level permission; the denial keeps the function's own code
    # from using them.
    # https://docs.aws.amazon.com/lambda/latest/dg/configuration-vpc.html#configuration-vpc-best-practice
    role.add_to_policy(iam.PolicyStatement(actions=_VPC_ACTIONS, resources=["*"]))
    function_arn = cdk.Stack.of(role).format_arn(
        service="lambda",
        resource="function",
        resource_name=function_name,
        arn_format=cdk.ArnFormat.COLON_RESOURCE_NAME,
    )
    role.add_to_policy(
        iam.PolicyStatement(
            effect=iam.Effect.DENY,
            actions=_VPC_ACTIONS,
            resources=["*"],
            conditions={"ArnEquals": {"lambda:SourceFunctionArn": function_arn}},
        )
    )
    acknowledge_any_resource(
        role,
        "Lambda attaches the function to the VPC with these EC2 actions, which it documents for "
        "all resources; the function's own code is denied them.",
    )
