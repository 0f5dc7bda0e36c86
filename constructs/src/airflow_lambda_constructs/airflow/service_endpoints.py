"""Ways from inside a VPC to AWS's services that do not touch the Internet.

Owns the endpoints, their policies and who may reach them. It must not know who calls what.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import aws_cdk as cdk
from aws_cdk import aws_ec2 as ec2
from aws_cdk import aws_iam as iam
from constructs import Construct

#: Construct id to the service; each endpoint costs by the hour and zone.
SERVICES: Mapping[str, ec2.InterfaceVpcEndpointAwsService] = {
    "EcrApi": ec2.InterfaceVpcEndpointAwsService.ECR,
    "EcrDocker": ec2.InterfaceVpcEndpointAwsService.ECR_DOCKER,
    "Lambda": ec2.InterfaceVpcEndpointAwsService.LAMBDA_,
    "Logs": ec2.InterfaceVpcEndpointAwsService.CLOUDWATCH_LOGS,
    "SecretsManager": ec2.InterfaceVpcEndpointAwsService.SECRETS_MANAGER,
    "Sqs": ec2.InterfaceVpcEndpointAwsService.SQS,
    "Ssm": ec2.InterfaceVpcEndpointAwsService.SSM,
    "SsmMessages": ec2.InterfaceVpcEndpointAwsService.SSM_MESSAGES,
}


class ServiceEndpoints(Construct):
    """Interface endpoints for some services, and the gateway endpoint for S3, which is free.

    Credentials of another account are of no use at them: nothing is carried out of the VPC with
    them. What the account's own may do is said by their roles.

    Args:
        subnets: Where the endpoints are, and whose way to S3 it is.
        clients: Security group of whoever may reach the endpoints.
        services: Which of `SERVICES`.
    """

    def __init__(  # noqa: PLR0913 - keyword-only settings
        self,
        scope: Construct,
        id: str,
        *,
        vpc: ec2.IVpc,
        subnets: ec2.SubnetSelection,
        clients: ec2.ISecurityGroup,
        services: Sequence[str],
    ) -> None:
        super().__init__(scope, id)
        group = ec2.SecurityGroup(
            self,
            "Endpoints",
            vpc=vpc,
            description="Of the endpoints of AWS services",
            allow_all_outbound=False,
        )
        group.connections.allow_from(clients, ec2.Port.HTTPS, "AWS services from their clients")
        for name in services:
            endpoint = ec2.InterfaceVpcEndpoint(
                self,
                name,
                vpc=vpc,
                service=SERVICES[name],
                subnets=subnets,
                security_groups=[group],
                open=False,
            )
            endpoint.add_to_policy(self._own_account())
        s3 = ec2.GatewayVpcEndpoint(
            self, "S3", vpc=vpc, service=ec2.GatewayVpcEndpointAwsService.S3, subnets=[subnets]
        )
        s3.add_to_policy(self._own_account())
        s3.add_to_policy(self._image_layers())
        clients.connections.allow_to(
            ec2.Peer.any_ipv4(), ec2.Port.HTTPS, "S3 through its gateway endpoint"
        )

    def _own_account(self) -> iam.PolicyStatement:
        """An endpoint's policy allows nothing by itself: it narrows what roles may do."""
        return iam.PolicyStatement(
            principals=[iam.AnyPrincipal()],
            actions=["*"],
            resources=["*"],
            conditions={"StringEquals": {"aws:PrincipalAccount": cdk.Stack.of(self).account}},
        )

    def _image_layers(self) -> iam.PolicyStatement:
        """ECR hands layers out of a bucket of its own, signed by itself.

        https://docs.aws.amazon.com/AmazonECR/latest/userguide/vpc-endpoints.html#ecr-minimum-s3-perms
        """
        stack = cdk.Stack.of(self)
        return iam.PolicyStatement(
            principals=[iam.AnyPrincipal()],
            actions=["s3:GetObject"],
            resources=[f"arn:{stack.partition}:s3:::prod-{stack.region}-starport-layer-bucket/*"],
        )
