"""Is anything left? Lists, through boto3, every kind of resource that the stacks make.

Compared is with what was there before the first `cdk deploy`: the CDK bootstrap stack and what an
account has by itself, such as its default VPC.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

from demo.cdk import BOOTSTRAP_STACK
from demo.embedded_aws import EmbeddedAws


@dataclass(frozen=True, slots=True, order=True)
class Resource:
    """Something that exists in the account."""

    service: str
    kind: str
    id: str

    def __str__(self) -> str:
        """For a person."""
        return f"{self.service} {self.kind} {self.id}"


@dataclass(frozen=True, slots=True)
class Listing:
    """One list call of boto3: what it is named, where the answers and their names are."""

    service: str
    operation: str
    key: str
    id: str | None
    arguments: dict[str, Any]

    def resources(self, aws: EmbeddedAws) -> Iterator[Resource]:
        """Everything that it lists."""
        client = aws.client(self.service)
        if client.can_paginate(self.operation):
            pages = client.get_paginator(self.operation).paginate(**self.arguments)
        else:
            pages = [getattr(client, self.operation)(**self.arguments)]
        for page in pages:
            for found in page.get(self.key) or []:
                yield Resource(self.service, self.key, found[self.id] if self.id else found)


def _listing(service: str, operation: str, key: str, id_: str | None, **arguments: Any) -> Listing:  # noqa: ANN401  # boto3's own
    return Listing(service, operation, key, id_, arguments)


LISTINGS: tuple[Listing, ...] = (
    _listing("cloudformation", "describe_stacks", "Stacks", "StackName"),
    _listing("ec2", "describe_vpcs", "Vpcs", "VpcId"),
    _listing("ec2", "describe_subnets", "Subnets", "SubnetId"),
    _listing("ec2", "describe_route_tables", "RouteTables", "RouteTableId"),
    _listing("ec2", "describe_security_groups", "SecurityGroups", "GroupId"),
    _listing("ec2", "describe_internet_gateways", "InternetGateways", "InternetGatewayId"),
    _listing("ec2", "describe_vpc_endpoints", "VpcEndpoints", "VpcEndpointId"),
    _listing("ec2", "describe_network_interfaces", "NetworkInterfaces", "NetworkInterfaceId"),
    _listing("ecr", "describe_repositories", "repositories", "repositoryName"),
    _listing("iam", "list_roles", "Roles", "RoleName"),
    _listing("iam", "list_policies", "Policies", "PolicyName", Scope="Local"),
    _listing("lambda", "list_functions", "Functions", "FunctionName"),
    _listing("logs", "describe_log_groups", "logGroups", "logGroupName"),
    _listing("rds", "describe_db_instances", "DBInstances", "DBInstanceIdentifier"),
    _listing("rds", "describe_db_parameter_groups", "DBParameterGroups", "DBParameterGroupName"),
    _listing("rds", "describe_db_snapshots", "DBSnapshots", "DBSnapshotIdentifier"),
    _listing("rds", "describe_db_subnet_groups", "DBSubnetGroups", "DBSubnetGroupName"),
    _listing("s3", "list_buckets", "Buckets", "Name"),
    _listing("secretsmanager", "list_secrets", "SecretList", "Name"),
    _listing("sqs", "list_queues", "QueueUrls", None),
    _listing("ssm", "describe_parameters", "Parameters", "Name"),
)


def inventory(aws: EmbeddedAws) -> frozenset[Resource]:
    """Everything that exists now."""
    return frozenset(found for listing in LISTINGS for found in listing.resources(aws))


def left(before: Iterable[Resource], after: Iterable[Resource]) -> list[Resource]:
    """What came and did not go."""
    return sorted(frozenset(after) - frozenset(before))


def sentence(remaining: list[Resource]) -> str:
    """The line at the end."""
    if not remaining:
        kinds = len(LISTINGS)
        return (
            f"Nothing is left but the CDK bootstrap stack {BOOTSTRAP_STACK} "
            f"({kinds} kinds of resources looked through)."
        )
    return "Left behind: " + ", ".join(str(resource) for resource in remaining)
