"""VPC endpoints: the route from inside a VPC to AWS services that avoids the Internet."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import aws_cdk as cdk
from aws_cdk import aws_ec2 as ec2
from aws_cdk import aws_iam as iam
from constructs import Construct

#: Each service by its construct id; an endpoint is charged by the hour and zone.
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

    The endpoints refuse credentials of other accounts, so nobody can use them to carry data out of
    the VPC.

    Args:
        subnets: The endpoints' subnets; S3 is reached from them too.
        clients: Security group that may reach the endpoints.
        services: Keys of `SERVICES`.
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
        """The statement of an endpoint's policy, which only narrows what roles may do."""
        return iam.PolicyStatement(
            principals=[iam.AnyPrincipal()],
            actions=["*"],
            resources=["*"],
            conditions={"StringEquals": {"aws:PrincipalAccount": cdk.Stack.of(self).account}},
        )

    def _image_layers(self) -> iam.PolicyStatement:
        """ECR serves image layers from its own bucket, with its own signatures.

        https://docs.aws.amazon.com/AmazonECR/latest/userguide/vpc-endpoints.html#ecr-minimum-s3-perms
        """
        stack = cdk.Stack.of(self)
        return iam.PolicyStatement(
            principals=[iam.AnyPrincipal()],
            actions=["s3:GetObject"],
            resources=[f"arn:{stack.partition}:s3:::prod-{stack.region}-starport-layer-bucket/*"],
        )
