"""The limits of AWS in numbers that its resource schemas do not have, each with its source.

A row is about one property of one resource; `sums.py` has what is counted over several. Rows that
no stage meets are not kept (`test_limits.py`).
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from lambda_executor.contract.lambda_limits import LONGEST_TIMEOUT_S

_DOCS = "https://docs.aws.amazon.com"
_ECS = f"{_DOCS}/AmazonECS/latest/APIReference"
_ECS_QUOTAS = f"{_DOCS}/AmazonECS/latest/developerguide/service-quotas.html"
_ELB = f"{_DOCS}/elasticloadbalancing/latest/APIReference"
_EC2 = f"{_DOCS}/AWSEC2/latest/APIReference"
_IAM = f"{_DOCS}/IAM/latest/APIReference"
_IAM_QUOTAS = f"{_DOCS}/IAM/latest/UserGuide/reference_iam-quotas.html"
_LAMBDA = f"{_DOCS}/lambda/latest/api"
_LAMBDA_QUOTAS = f"{_DOCS}/lambda/latest/dg/gettingstarted-limits.html"
_LOGS = f"{_DOCS}/AmazonCloudWatchLogs/latest/APIReference"
_METRICS = f"{_DOCS}/AmazonCloudWatch/latest/APIReference"
_METRICS_QUOTAS = f"{_DOCS}/AmazonCloudWatch/latest/monitoring/cloudwatch_limits.html"
_RDS = f"{_DOCS}/AmazonRDS/latest/APIReference"
_SQS = f"{_DOCS}/AWSSimpleQueueService/latest/APIReference/API_SetQueueAttributes.html"
_SQS_POLICIES = f"{_DOCS}/AWSSimpleQueueService/latest/SQSDeveloperGuide/quotas-policies.html"
_CLOUD_MAP = f"{_DOCS}/cloud-map/latest/api"

#: What EC2 takes in a description.
_EC2_TEXT = r"[a-zA-Z0-9 ._\-:/()#,@\[\]+=&;{}!$*]{0,255}"


def compact(value: object) -> str:
    """JSON without white space, which no service counts."""
    return json.dumps(value, ensure_ascii=False, separators=(",", ":"))


def number(value: Any) -> int:
    """The value itself."""
    return int(value)


def characters(value: Any) -> int:
    """How long a text is, or a policy without white space."""
    return len(value if isinstance(value, str) else re.sub(r"\s", "", compact(value)))


def size(value: Any) -> int:
    """How many bytes a text or a document has."""
    return len((value if isinstance(value, str) else compact(value)).encode())


def items(value: Any) -> int:
    """How many there are."""
    return len(value)


def widgets(value: Any) -> int:
    """How many widgets a dashboard has."""
    return len(json.loads(value)["widgets"])


@dataclass(frozen=True)
class Limit:
    """What AWS allows of one property.

    Attributes:
        type: CloudFormation's type of the resource.
        path: The property, with `[]` for every item of a list; "": all properties.
        measure: What of it is limited.
        least: The least that AWS allows.
        most: The most that AWS allows.
        source: Where AWS says so.
    """

    type: str
    path: str
    measure: Callable[[Any], int]
    least: int
    most: int
    source: str

    def broken_by(self, properties: Mapping[str, Any]) -> Iterator[str]:
        """Yield what is out of bounds."""
        for value in values(properties, self.path):
            measured = self.measure(value)
            if not self.least <= measured <= self.most:
                yield (
                    f"{self.path} is {measured} ({self.measure.__name__}), allowed is "
                    f"{self.least} to {self.most}: {self.source}"
                )


@dataclass(frozen=True)
class Form:
    """What AWS allows a text to look like.

    Attributes:
        type: CloudFormation's type of the resource.
        path: The property, with `[]` for every item of a list.
        pattern: A regular expression for the whole text.
        source: Where AWS says so.
    """

    type: str
    path: str
    pattern: str
    source: str

    def broken_by(self, properties: Mapping[str, Any]) -> Iterator[str]:
        """Yield what has another form."""
        for value in values(properties, self.path):
            if not re.fullmatch(self.pattern, str(value)):
                yield f"{self.path} is {value!r}, allowed is {self.pattern}: {self.source}"


def values(properties: object, path: str) -> Iterator[Any]:
    """Yield what a path leads to, if it is set."""
    name, _, rest = path.partition(".")
    if not name:
        yield properties
        return
    key = name.removesuffix("[]")
    if not isinstance(properties, Mapping) or key not in properties:
        return
    value = properties[key]
    for item in value if name.endswith("[]") else [value]:
        yield from values(item, rest)


LIMITS: tuple[Limit | Form, ...] = (
    # CloudWatch
    Limit(
        "AWS::CloudWatch::Alarm",
        "AlarmDescription",
        characters,
        0,
        1024,
        f"{_METRICS}/API_PutMetricAlarm.html",
    ),
    Limit("AWS::CloudWatch::Alarm", "AlarmActions", items, 0, 5, _METRICS_QUOTAS),
    Limit("AWS::CloudWatch::Alarm", "OKActions", items, 0, 5, _METRICS_QUOTAS),
    Limit("AWS::CloudWatch::Alarm", "Dimensions", items, 0, 30, _METRICS_QUOTAS),
    Limit("AWS::CloudWatch::Alarm", "Metrics", items, 1, 10, _METRICS_QUOTAS),
    Limit("AWS::CloudWatch::Dashboard", "DashboardBody", widgets, 1, 500, _METRICS_QUOTAS),
    # EC2
    Form(
        "AWS::EC2::SecurityGroup",
        "GroupDescription",
        _EC2_TEXT,
        f"{_EC2}/API_CreateSecurityGroup.html",
    ),
    *(
        Form(type_, path, _EC2_TEXT, f"{_EC2}/API_IpRange.html")
        for type_, path in (
            ("AWS::EC2::SecurityGroup", "SecurityGroupIngress[].Description"),
            ("AWS::EC2::SecurityGroup", "SecurityGroupEgress[].Description"),
            ("AWS::EC2::SecurityGroupIngress", "Description"),
            ("AWS::EC2::SecurityGroupEgress", "Description"),
        )
    ),
    # ECS
    *(
        Limit(
            "AWS::ECS::TaskDefinition",
            f"ContainerDefinitions[].HealthCheck.{name}",
            number,
            least,
            most,
            f"{_ECS}/API_HealthCheck.html",
        )
        for name, least, most in (
            ("Interval", 5, 300),
            ("Retries", 1, 10),
            ("StartPeriod", 0, 300),
            ("Timeout", 2, 60),
        )
    ),
    Limit(
        "AWS::ECS::TaskDefinition",
        "ContainerDefinitions[].StopTimeout",
        number,
        2,
        120,
        f"{_ECS}/API_ContainerDefinition.html",
    ),
    Limit(
        "AWS::ECS::TaskDefinition",
        "ContainerDefinitions[].StartTimeout",
        number,
        2,
        120,
        f"{_ECS}/API_ContainerDefinition.html",
    ),
    Limit("AWS::ECS::TaskDefinition", "ContainerDefinitions", items, 1, 10, _ECS_QUOTAS),
    Limit("AWS::ECS::TaskDefinition", "", size, 1, 65536, _ECS_QUOTAS),
    Limit(
        "AWS::ECS::Service",
        "NetworkConfiguration.AwsvpcConfiguration.SecurityGroups",
        items,
        1,
        5,
        _ECS_QUOTAS,
    ),
    Limit(
        "AWS::ECS::Service",
        "NetworkConfiguration.AwsvpcConfiguration.Subnets",
        items,
        1,
        16,
        _ECS_QUOTAS,
    ),
    # Elastic Load Balancing
    Limit(
        "AWS::ElasticLoadBalancingV2::TargetGroup",
        "HealthCheckIntervalSeconds",
        number,
        5,
        300,
        f"{_ELB}/API_CreateTargetGroup.html",
    ),
    Limit(
        "AWS::ElasticLoadBalancingV2::TargetGroup",
        "HealthCheckTimeoutSeconds",
        number,
        2,
        120,
        f"{_ELB}/API_CreateTargetGroup.html",
    ),
    *(
        Limit(
            "AWS::ElasticLoadBalancingV2::TargetGroup",
            name,
            number,
            2,
            10,
            f"{_ELB}/API_CreateTargetGroup.html",
        )
        for name in ("HealthyThresholdCount", "UnhealthyThresholdCount")
    ),
    Limit(
        "AWS::ElasticLoadBalancingV2::ListenerRule",
        "Conditions[].PathPatternConfig.Values",
        items,
        1,
        5,
        f"{_DOCS}/elasticloadbalancing/latest/application/load-balancer-limits.html",
    ),
    # IAM
    Limit("AWS::IAM::ManagedPolicy", "PolicyDocument", characters, 1, 6144, _IAM_QUOTAS),
    Limit(
        "AWS::IAM::ManagedPolicy",
        "Description",
        characters,
        0,
        1000,
        f"{_IAM}/API_CreatePolicy.html",
    ),
    Limit("AWS::IAM::Role", "AssumeRolePolicyDocument", characters, 1, 2048, _IAM_QUOTAS),
    Limit("AWS::IAM::Role", "Description", characters, 0, 1000, f"{_IAM}/API_CreateRole.html"),
    # KMS
    Limit(
        "AWS::KMS::Key",
        "KeyPolicy",
        size,
        1,
        32768,
        f"{_DOCS}/kms/latest/developerguide/resource-limits.html",
    ),
    # Lambda
    Limit(
        "AWS::Lambda::Function",
        "Timeout",
        number,
        1,
        LONGEST_TIMEOUT_S,
        f"{_LAMBDA}/API_CreateFunction.html",
    ),
    Limit("AWS::Lambda::Function", "Environment.Variables", size, 0, 4096, _LAMBDA_QUOTAS),
    Limit("AWS::Lambda::Function", "VpcConfig.SecurityGroupIds", items, 1, 5, _LAMBDA_QUOTAS),
    Limit("AWS::Lambda::Function", "VpcConfig.SubnetIds", items, 1, 16, _LAMBDA_QUOTAS),
    Limit(
        "AWS::Lambda::EventInvokeConfig",
        "MaximumEventAgeInSeconds",
        number,
        60,
        21600,
        f"{_LAMBDA}/API_PutFunctionEventInvokeConfig.html",
    ),
    # CloudWatch Logs
    Form(
        "AWS::Logs::LogGroup",
        "LogGroupName",
        r"[.\-_/#A-Za-z0-9]{1,512}",
        f"{_LOGS}/API_CreateLogGroup.html",
    ),
    Limit(
        "AWS::Logs::MetricFilter",
        "FilterPattern",
        characters,
        0,
        1024,
        f"{_LOGS}/API_PutMetricFilter.html",
    ),
    Limit(
        "AWS::Logs::MetricFilter",
        "MetricTransformations[].Dimensions",
        items,
        0,
        3,
        f"{_LOGS}/API_MetricTransformation.html",
    ),
    # RDS
    Form(
        "AWS::RDS::DBInstance",
        "DBName",
        r"[A-Za-z][A-Za-z0-9_]{0,62}",
        f"{_RDS}/API_CreateDBInstance.html",
    ),
    Form(  # What the database's MasterUsername is resolved from.
        "AWS::SecretsManager::Secret",
        "GenerateSecretString.SecretStringTemplate",
        r'\{"username": ?"(?!(admin|rdsadmin|postgres)")[A-Za-z]\w{0,15}"\}',
        f"{_RDS}/API_CreateDBInstance.html",
    ),
    Limit(
        "AWS::RDS::DBInstance",
        "BackupRetentionPeriod",
        number,
        0,
        35,
        f"{_RDS}/API_CreateDBInstance.html",
    ),
    Limit(
        "AWS::RDS::DBInstance",
        "AllocatedStorage",
        number,
        20,
        65536,
        f"{_RDS}/API_CreateDBInstance.html",
    ),
    Form(
        "AWS::RDS::DBProxy",
        "DBProxyName",
        r"(?=.{1,63}$)[a-zA-Z](?:-?[a-zA-Z0-9]+)*",
        f"{_RDS}/API_CreateDBProxy.html",
    ),
    # Secrets Manager
    Limit(
        "AWS::SecretsManager::Secret",
        "Description",
        characters,
        0,
        2048,
        f"{_DOCS}/secretsmanager/latest/apireference/API_CreateSecret.html",
    ),
    # Cloud Map: one label of a name in DNS.
    Form(
        "AWS::ServiceDiscovery::Service",
        "Name",
        r"[a-zA-Z0-9_]([a-zA-Z0-9_-]{0,61}[a-zA-Z0-9_])?",
        f"{_CLOUD_MAP}/API_CreateService.html",
    ),
    # SQS
    *(
        Limit("AWS::SQS::Queue", name, number, least, most, _SQS)
        for name, least, most in (
            ("MessageRetentionPeriod", 60, 1209600),
            ("ReceiveMessageWaitTimeSeconds", 0, 20),
            ("VisibilityTimeout", 0, 43200),
        )
    ),
    Limit("AWS::SQS::QueuePolicy", "PolicyDocument", size, 1, 8192, _SQS_POLICIES),
    Limit("AWS::SQS::QueuePolicy", "PolicyDocument.Statement", items, 1, 20, _SQS_POLICIES),
    # S3
    Limit(
        "AWS::S3::BucketPolicy",
        "PolicyDocument",
        size,
        1,
        20480,
        f"{_DOCS}/AmazonS3/latest/userguide/add-bucket-policy.html",
    ),
    # Systems Manager
    Limit(
        "AWS::SSM::Parameter",
        "Description",
        characters,
        0,
        1024,
        f"{_DOCS}/systems-manager/latest/APIReference/API_PutParameter.html",
    ),
    # Budgets
    Limit(
        "AWS::Budgets::Budget",
        "NotificationsWithSubscribers",
        items,
        0,
        10,
        f"{_DOCS}/aws-cost-management/latest/APIReference/API_budgets_Notification.html",
    ),
)
