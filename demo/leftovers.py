"""Is anything left? Lists, through boto3, every kind of resource that the stacks make.

Compared is with what was there before the first `cdk deploy`: the CDK bootstrap stack and what an
account has by itself, such as its default VPC.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Any

from demo.cdk import BOOTSTRAP_STACK
from demo.embedded_aws import ACCOUNT, EmbeddedAws


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
    """One list call of boto3: what it is named, where the answers and their names are.

    Attributes:
        is_there: Whether something that is listed still exists; asked with a client and its name.
    """

    service: str
    operation: str
    key: str
    id: str | None
    arguments: dict[str, Any]
    is_there: Callable[[Any, str], bool] = lambda _client, _id: True

    def resources(self, aws: EmbeddedAws) -> Iterator[Resource]:
        """Everything that it lists."""
        client = aws.client(self.service)
        if client.can_paginate(self.operation):
            pages = client.get_paginator(self.operation).paginate(**self.arguments)
        else:
            pages = [getattr(client, self.operation)(**self.arguments)]
        for page in pages:
            for found in page.get(self.key) or []:
                name = found[self.id] if self.id else found
                if self.is_there(client, name):
                    yield Resource(self.service, self.key, name)


def _listing(service: str, operation: str, key: str, id_: str | None, **arguments: Any) -> Listing:  # noqa: ANN401  # boto3's own
    return Listing(service, operation, key, id_, arguments)


def _is_kept(kms: Any, key_id: str) -> bool:  # noqa: ANN401  # boto3's own
    """Whether a key is there for good: KMS lists a deleted one for a week at least, for nothing."""
    state: str = kms.describe_key(KeyId=key_id)["KeyMetadata"]["KeyState"]
    return state != "PendingDeletion"


LISTINGS: tuple[Listing, ...] = (
    _listing("budgets", "describe_budgets", "Budgets", "BudgetName", AccountId=ACCOUNT),
    _listing("cloudformation", "describe_stacks", "Stacks", "StackName"),
    _listing("cloudwatch", "describe_alarms", "MetricAlarms", "AlarmName"),
    _listing("cloudwatch", "describe_alarms", "CompositeAlarms", "AlarmName"),
    _listing("cloudwatch", "list_dashboards", "DashboardEntries", "DashboardName"),
    _listing("ec2", "describe_addresses", "Addresses", "AllocationId"),
    _listing("ec2", "describe_flow_logs", "FlowLogs", "FlowLogId"),
    _listing("ec2", "describe_internet_gateways", "InternetGateways", "InternetGatewayId"),
    _listing("ec2", "describe_nat_gateways", "NatGateways", "NatGatewayId"),
    _listing("ec2", "describe_network_interfaces", "NetworkInterfaces", "NetworkInterfaceId"),
    _listing("ec2", "describe_route_tables", "RouteTables", "RouteTableId"),
    _listing("ec2", "describe_security_groups", "SecurityGroups", "GroupId"),
    _listing("ec2", "describe_subnets", "Subnets", "SubnetId"),
    _listing("ec2", "describe_vpc_endpoints", "VpcEndpoints", "VpcEndpointId"),
    _listing("ec2", "describe_vpcs", "Vpcs", "VpcId"),
    _listing("ecr", "describe_repositories", "repositories", "repositoryName"),
    _listing("ecs", "list_clusters", "clusterArns", None),
    _listing("ecs", "list_task_definitions", "taskDefinitionArns", None),
    _listing("elbv2", "describe_load_balancers", "LoadBalancers", "LoadBalancerName"),
    _listing("elbv2", "describe_target_groups", "TargetGroups", "TargetGroupName"),
    _listing("iam", "list_policies", "Policies", "PolicyName", Scope="Local"),
    _listing("iam", "list_roles", "Roles", "RoleName"),
    _listing("kms", "list_aliases", "Aliases", "AliasName"),
    Listing("kms", "list_keys", "Keys", "KeyId", {}, _is_kept),
    _listing("lambda", "list_functions", "Functions", "FunctionName"),
    _listing("logs", "describe_log_groups", "logGroups", "logGroupName"),
    _listing("logs", "describe_metric_filters", "metricFilters", "filterName"),
    _listing("rds", "describe_db_instances", "DBInstances", "DBInstanceIdentifier"),
    _listing("rds", "describe_db_parameter_groups", "DBParameterGroups", "DBParameterGroupName"),
    _listing("rds", "describe_db_proxies", "DBProxies", "DBProxyName"),
    _listing("rds", "describe_db_snapshots", "DBSnapshots", "DBSnapshotIdentifier"),
    _listing("rds", "describe_db_subnet_groups", "DBSubnetGroups", "DBSubnetGroupName"),
    _listing("s3", "list_buckets", "Buckets", "Name"),
    _listing("secretsmanager", "list_secrets", "SecretList", "Name"),
    _listing("servicediscovery", "list_namespaces", "Namespaces", "Name"),
    _listing("servicediscovery", "list_services", "Services", "Name"),
    _listing("sns", "list_topics", "Topics", "TopicArn"),
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
