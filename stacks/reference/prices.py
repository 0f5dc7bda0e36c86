"""AWS's prices for the cost table, each with its source.

On demand, US East (N. Virginia), without free tiers and commitments, read on `READ_ON` unless one
says otherwise. Most other Regions are 0 to 25 % more expensive.
"""

from __future__ import annotations

from dataclasses import dataclass

READ_ON = "2026-11-21"

HOURS_A_MONTH = 730


@dataclass(frozen=True, slots=True)
class Price:
    """A price in US dollars per unit, and the URLs of its source and of AWS's page."""

    usd: float
    per: str
    source: str | None  # None: the price was not found, check AWS's page.
    page: str
    read_on: str = READ_ON


_CLOUDWATCH = "https://aws.amazon.com/cloudwatch/pricing/"
_CLOUDWATCH_READ = (
    "https://www.factualminds.com/blog/amazon-cloudwatch-pricing-metrics-logs-alarms-dashboards/"
)
_FARGATE = "https://aws.amazon.com/fargate/pricing/"
_FARGATE_READ = "https://www.vantage.sh/blog/fargate-pricing"
_FARGATE_SPOT_READ = "https://fortem.dev/fargate-spot/"
_LAMBDA = "https://aws.amazon.com/lambda/pricing/"
_LAMBDA_READ = "https://cloudchipr.com/blog/aws-lambda-pricing"
_SNAPSHOTS_READ = "https://awsnegotiations.com/blog/lambda-snapstart-cost-impact/"
_MICRO_VMS_READ = "https://northflank.com/blog/aws-lambda-microvms-vs-northflank-pricing"
_MICRO_VMS_READ_ON = "2026-11-30"
_RDS = "https://aws.amazon.com/rds/postgresql/pricing/"
_RDS_READ = "https://infratally.com/articles/aws-rds-pricing-explained-2026.html"
_RDS_STORAGE_READ = "https://www.usage.ai/blogs/aws/reserved-instances/rds/pricing-calculator/"
_VPC = "https://aws.amazon.com/vpc/pricing/"
_VPC_READ = (
    "https://www.factualminds.com/blog/amazon-vpc-pricing-endpoints-peering-transit-gateway/"
)

PRICES = {
    "Lambda, x86_64": Price(0.0000166667, "GB-second", _LAMBDA_READ, _LAMBDA),
    "Lambda, arm64": Price(0.0000133334, "GB-second", _LAMBDA_READ, _LAMBDA),
    "Lambda, requests": Price(
        0.20,
        "million",
        "https://git.mcrn.ar/mariano/lambda_local_runner/src/commit/"
        "957e45b8adae23ce50b966346229585b5df18b4d/docs/lambdas-md/lambda-13-cost.md",
        _LAMBDA,
    ),
    "Lambda, provisioned concurrency": Price(0.0000041667, "GB-second", None, _LAMBDA),
    "Lambda, snapshot of a version": Price(0.0000015046, "GB-second", _SNAPSHOTS_READ, _LAMBDA),
    "Lambda, restore of a snapshot": Price(0.0001397998, "GB", _SNAPSHOTS_READ, _LAMBDA),
    # Baseline only: what a MicroVM uses above it costs the same again, by the second.
    "MicroVM, arm64": Price(
        0.0000276944, "vCPU-second", _MICRO_VMS_READ, _LAMBDA, _MICRO_VMS_READ_ON
    ),
    "MicroVM, arm64, memory": Price(
        0.0000036667, "GB-second", _MICRO_VMS_READ, _LAMBDA, _MICRO_VMS_READ_ON
    ),
    "MicroVM, snapshot of a version": Price(
        0.08, "GB and month", _MICRO_VMS_READ, _LAMBDA, _MICRO_VMS_READ_ON
    ),
    "MicroVM, restore of a snapshot": Price(0.00155, "GB", None, _LAMBDA),
    "SQS, requests": Price(
        0.40,
        "million",
        "https://www.factualminds.com/blog/amazon-sqs-pricing-64kb-rule-fifo-vs-standard/",
        "https://aws.amazon.com/sqs/pricing/",
    ),
    "S3, writes": Price(0.005, "thousand", None, "https://aws.amazon.com/s3/pricing/"),
    "Logs, taken in": Price(0.50, "GB", _CLOUDWATCH_READ, _CLOUDWATCH),
    "Dashboard": Price(3.0, "month", _CLOUDWATCH_READ, _CLOUDWATCH),
    "Alarm": Price(0.10, "metric and month", None, _CLOUDWATCH),
    "Metric of our own": Price(
        0.30, "month in use", "https://signoz.io/guides/cloudwatch-pricing", _CLOUDWATCH
    ),
    "KMS key": Price(
        1.0,
        "month",
        "https://www.factualminds.com/blog/aws-kms-pricing-keys-requests-multi-region/",
        "https://aws.amazon.com/kms/pricing/",
    ),
    "Secret": Price(
        0.40,
        "month",
        "https://hivebook.wiki/wiki/aws-secrets-manager-rotated-secrets-dynamic-db-credentials-kms",
        "https://aws.amazon.com/secrets-manager/pricing/",
    ),
    "Image storage": Price(
        0.10,
        "GB and month",
        "https://cloudburn.io/blog/amazon-ecr-pricing",
        "https://aws.amazon.com/ecr/pricing/",
    ),
    "EFS, storage": Price(
        0.30,
        "GB and month",
        "https://www.factualminds.com/blog/amazon-efs-pricing-throughput-modes-storage-classes/",
        "https://aws.amazon.com/efs/pricing/",
        "2026-11-30",
    ),
    "RDS, db.t4g.micro": Price(0.016, "hour", _RDS_READ, _RDS),
    "RDS, db.t4g.small": Price(0.032, "hour", _RDS_READ, _RDS),
    "RDS, db.t4g.medium": Price(0.065, "hour", _RDS_READ, _RDS),
    "RDS, db.m7g.large": Price(0.168, "hour", None, _RDS),
    "RDS, gp3": Price(0.115, "GB and month", _RDS_STORAGE_READ, _RDS),
    "RDS Proxy": Price(0.015, "vCPU-hour", None, "https://aws.amazon.com/rds/proxy/pricing/"),
    "NAT gateway": Price(0.045, "hour", "https://basavytix.com/blog/aws-nat-gateway-pricing", _VPC),
    "Interface endpoint": Price(0.01, "hour and zone", _VPC_READ, _VPC),
    "Public IPv4 address": Price(0.005, "hour", _VPC_READ, _VPC),
    "Load balancer": Price(
        0.0225, "hour", None, "https://aws.amazon.com/elasticloadbalancing/pricing/"
    ),
    "Fargate, x86_64": Price(0.04048, "vCPU-hour", _FARGATE_READ, _FARGATE),
    "Fargate, x86_64, memory": Price(0.004445, "GB-hour", _FARGATE_READ, _FARGATE),
    "Fargate, arm64": Price(0.03238, "vCPU-hour", _FARGATE_READ, _FARGATE),
    "Fargate, arm64, memory": Price(0.00356, "GB-hour", _FARGATE_READ, _FARGATE),
    # Spot prices move, 50 to 70 % below the others. That of arm64 was read on AWS's page, that of
    # x86_64 is the upper end.
    "Fargate Spot, x86_64": Price(0.0202, "vCPU-hour", _FARGATE_SPOT_READ, _FARGATE),
    "Fargate Spot, x86_64, memory": Price(0.00222, "GB-hour", _FARGATE_SPOT_READ, _FARGATE),
    "Fargate Spot, arm64": Price(0.01030969, "vCPU-hour", _FARGATE, _FARGATE),
    "Fargate Spot, arm64, memory": Price(0.00113349, "GB-hour", _FARGATE, _FARGATE),
    "HTTP API, requests": Price(
        1.0, "million", None, "https://aws.amazon.com/api-gateway/pricing/"
    ),
    "Private DNS zone": Price(0.50, "month", None, "https://aws.amazon.com/route53/pricing/"),
}

#: Types of resources that AWS does not charge for.
FREE = frozenset(
    {
        "AWS::ApiGatewayV2::Integration",
        "AWS::ApiGatewayV2::Route",
        "AWS::ApiGatewayV2::Stage",
        "AWS::ApiGatewayV2::VpcLink",
        "AWS::ApplicationAutoScaling::ScalableTarget",
        "AWS::ApplicationAutoScaling::ScalingPolicy",
        "AWS::Batch::ComputeEnvironment",
        "AWS::Batch::JobDefinition",
        "AWS::Batch::JobQueue",
        "AWS::Budgets::Budget",
        "AWS::EC2::FlowLog",
        "AWS::EC2::InternetGateway",
        "AWS::EC2::LaunchTemplate",
        "AWS::EC2::Route",
        "AWS::EC2::RouteTable",
        "AWS::EC2::SecurityGroup",
        "AWS::EC2::SecurityGroupEgress",
        "AWS::EC2::SecurityGroupIngress",
        "AWS::EC2::Subnet",
        "AWS::EC2::SubnetRouteTableAssociation",
        "AWS::EC2::VPC",
        "AWS::EC2::VPCGatewayAttachment",
        "AWS::ECS::Cluster",
        "AWS::ECS::ClusterCapacityProviderAssociations",
        "AWS::ECS::TaskDefinition",
        "AWS::EFS::AccessPoint",
        "AWS::EFS::MountTarget",
        "AWS::ElasticLoadBalancingV2::Listener",
        "AWS::ElasticLoadBalancingV2::ListenerRule",
        "AWS::ElasticLoadBalancingV2::TargetGroup",
        "AWS::IAM::InstanceProfile",
        "AWS::IAM::ManagedPolicy",
        "AWS::IAM::Policy",
        "AWS::IAM::Role",
        "AWS::KMS::Alias",
        "AWS::Lambda::EventInvokeConfig",
        "AWS::Lambda::NetworkConnector",
        "AWS::Lambda::Permission",
        "AWS::RDS::DBParameterGroup",
        "AWS::RDS::DBProxyTargetGroup",
        "AWS::RDS::DBSubnetGroup",
        "AWS::Route53::RecordSet",
        "AWS::S3::BucketPolicy",
        "AWS::SNS::Subscription",
        "AWS::SNS::Topic",
        "AWS::SNS::TopicPolicy",
        "AWS::SQS::QueuePolicy",
        "AWS::SSM::Parameter",
        "AWS::SecretsManager::ResourcePolicy",
        "AWS::SecretsManager::RotationSchedule",
        "AWS::SecretsManager::SecretTargetAttachment",
        "AWS::Scheduler::Schedule",
        "AWS::ServiceDiscovery::Service",
    }
)
