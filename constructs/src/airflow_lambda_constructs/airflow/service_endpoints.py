"""VPC endpoints: the route from inside a VPC to AWS services that avoids the Internet."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import aws_cdk as cdk
from aws_cdk import aws_ec2 as ec2
from aws_cdk import aws_iam as iam
from constructs import Construct

#: Each service by its construct id; an endpoint is charged by the hour and zone.
SERVICES: Mapping[str, ec2.InterfaceVpcEndpointAwsService] = {
    "Batch": ec2.InterfaceVpcEndpointAwsService.BATCH,
    "EcrApi": ec2.InterfaceVpcEndpointAwsService.ECR,
    "EcrDocker": ec2.InterfaceVpcEndpointAwsService.ECR_DOCKER,
    "Ecs": ec2.InterfaceVpcEndpointAwsService.ECS,
    "EcsAgent": ec2.InterfaceVpcEndpointAwsService.ECS_AGENT,
    "EcsTelemetry": ec2.InterfaceVpcEndpointAwsService.ECS_TELEMETRY,
    "Lambda": ec2.InterfaceVpcEndpointAwsService.LAMBDA_,
    "Logs": ec2.InterfaceVpcEndpointAwsService.CLOUDWATCH_LOGS,
    "SecretsManager": ec2.InterfaceVpcEndpointAwsService.SECRETS_MANAGER,
    "Sqs": ec2.InterfaceVpcEndpointAwsService.SQS,
    "Ssm": ec2.InterfaceVpcEndpointAwsService.SSM,
    "SsmMessages": ec2.InterfaceVpcEndpointAwsService.SSM_MESSAGES,
    "Sts": ec2.InterfaceVpcEndpointAwsService.STS,
}


class ServiceEndpoints(Construct):
    """The gateway endpoint for S3, which is free, in every route table of the VPC.

    `close` adds interface endpoints for other services, in a VPC without the Internet.
    """

    def __init__(self, scope: Construct, id: str, *, vpc: ec2.IVpc) -> None:
        super().__init__(scope, id)
        self._vpc = vpc
        self._s3 = ec2.GatewayVpcEndpoint(
            self, "S3", vpc=vpc, service=ec2.GatewayVpcEndpointAwsService.S3
        )

    def close(
        self,
        *,
        subnets: ec2.SubnetSelection,
        clients: ec2.ISecurityGroup,
        services: Sequence[str],
    ) -> None:
        """Make the endpoints the only way to AWS.

        All of them refuse credentials of other accounts, so nobody can use them to carry data out
        of the VPC. Where there is a way to the Internet that would only refuse other people's
        public buckets.

        Args:
            subnets: The interfaces' subnets.
            clients: Security group that may reach the endpoints.
            services: Keys of `SERVICES`.
        """
        group = ec2.SecurityGroup(
            self,
            "Endpoints",
            vpc=self._vpc,
            description="Of the endpoints of AWS services",
            allow_all_outbound=False,
        )
        group.connections.allow_from(clients, ec2.Port.HTTPS, "AWS services from their clients")
        for name in services:
            endpoint = ec2.InterfaceVpcEndpoint(
                self,
                name,
                vpc=self._vpc,
                service=SERVICES[name],
                subnets=subnets,
                security_groups=[group],
                open=False,
            )
            endpoint.add_to_policy(self._own_account())
        self._s3.add_to_policy(self._own_account())
        self._s3.add_to_policy(self._image_layers())
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
