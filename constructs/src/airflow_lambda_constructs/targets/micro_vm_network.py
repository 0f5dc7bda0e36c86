"""How MicroVMs reach the network: connectors, of which a MicroVM is given some when it is run.

https://docs.aws.amazon.com/lambda/latest/dg/microvms-networking.html
"""

from __future__ import annotations

from typing import cast

import aws_cdk as cdk
from aws_cdk import aws_iam as iam
from aws_cdk import aws_lambda as lambda_
from constructs import Construct

from airflow_lambda_constructs.acknowledge import acknowledge, shown
from airflow_lambda_constructs.execution.target import TargetNetwork

#: The service that tags the network interfaces of connectors.
_CONNECTORS = "network-connectors.lambda.amazonaws.com"
#: Construct id beside the targets, which have no hyphens in theirs.
_ID = "microvm-connector"


def managed_connector(scope: Construct, name: str) -> str:
    """Return the ARN of a connector of AWS's own: NO_INGRESS or INTERNET_EGRESS, for example."""
    return cdk.Stack.of(scope).format_arn(
        service="lambda",
        account="aws",
        resource="network-connector",
        resource_name=f"aws-network-connector:{name}",
        arn_format=cdk.ArnFormat.COLON_RESOURCE_NAME,
    )


def egress_connector(scope: Construct, name: str, network: TargetNetwork | None) -> str:
    """Return the ARN of the connector for what the MicroVMs of an environment call.

    Args:
        scope: The same for all targets of the environment, which share one connector.
        name: The environment's, and its connector's.
        network: The subnets; None: the Internet.

    Raises:
        ValueError: The subnets are public: a MicroVM gets no public address in them.
    """
    if network is None:
        return managed_connector(scope, "INTERNET_EGRESS")
    if network.public_addresses:
        raise ValueError(
            "MicroVMs are given public subnets, in which they reach nothing, because they get no "
            "public address there: give them private subnets, or no network at all"
        )
    made = scope.node.try_find_child(_ID)
    if made is None:
        return NetworkConnector(scope, _ID, name=name, network=network).arn
    return cast("NetworkConnector", made).arn


class NetworkConnector(Construct):
    """A connector into private subnets, and the role that makes its network interfaces."""

    def __init__(self, scope: Construct, id: str, *, name: str, network: TargetNetwork) -> None:
        super().__init__(scope, id)
        role = self._role(network)
        of = lambda_.CfnNetworkConnector
        connector = of(
            self,
            "Connector",
            name=name,
            operator_role=role.role_arn,
            configuration=of.ConfigProperty(
                vpc_egress_configuration=of.VpcEgressConfigurationProperty(
                    associated_compute_resource_types=["MicroVm"],
                    network_protocol="IPv4",
                    security_group_ids=network.security_group_ids,
                    subnet_ids=network.subnet_ids,
                )
            ),
        )
        connector.apply_removal_policy(cdk.RemovalPolicy.DESTROY)
        connector.node.add_dependency(role)  # Lambda uses it at once, and it needs its policy then.
        self.arn = connector.attr_arn

    def _role(self, network: TargetNetwork) -> iam.Role:
        """Make a role with what AWS's managed policy has, for these subnets and groups only.

        https://docs.aws.amazon.com/aws-managed-policy/latest/reference/AWSLambdaNetworkConnectorOperatorPolicy.html
        """
        role = iam.Role(
            self, "OperatorRole", assumed_by=iam.ServicePrincipal("lambda.amazonaws.com")
        )
        interfaces = self._arn("network-interface", "*")
        role.add_to_policy(
            iam.PolicyStatement(
                actions=["ec2:CreateNetworkInterface"],
                resources=[
                    interfaces,
                    *(self._arn("subnet", id) for id in network.subnet_ids),
                    *(self._arn("security-group", id) for id in network.security_group_ids),
                ],
            )
        )
        role.add_to_policy(
            iam.PolicyStatement(
                actions=["ec2:CreateTags"],
                resources=[interfaces],
                conditions={"StringEquals": {"ec2:ManagedResourceOperator": _CONNECTORS}},
            )
        )
        acknowledge(
            role,
            **{
                f"IAM5[Resource::{shown(role, interfaces)}]": "A network interface has no ARN "
                "before it is made."
            },
        )
        return role

    def _arn(self, resource: str, name: str) -> str:
        return cdk.Stack.of(self).format_arn(service="ec2", resource=resource, resource_name=name)
