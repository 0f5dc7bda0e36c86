"""Resources that the stacks leave behind: lists every kind of resource that they create.

Resources that existed before the first `cdk deploy` do not count: the CDK bootstrap stack and those
of every account, such as its default VPC.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from demo.installation.cdk_cli import BOOTSTRAP_STACK
from demo.machine.embedded_aws import ACCOUNT, EmbeddedAws


@dataclass(frozen=True, slots=True, order=True)
class Resource:
    """An AWS resource in the account."""

    service: str
    kind: str
    id: str

    def __str__(self) -> str:
        return f"{self.service} {self.kind} {self.id}"


@dataclass(frozen=True, slots=True)
class Listing:
    """One list operation of boto3: `key` is the list in its answer, `id` the name of an entry.

    Without an `id`, the entry is its own name.
    """

    service: str
    operation: str
    key: str
    id: str | None
    arguments: Mapping[str, str] = field(default_factory=dict)
    is_there: Callable[[Any, str], bool] = lambda _client, _id: True

    def resources(self, aws: EmbeddedAws) -> Iterator[Resource]:
        """Every resource that the operation lists."""
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


def _is_kept(kms: Any, key_id: str) -> bool:  # noqa: ANN401  # boto3's own
    """Whether a key is not deleted: KMS lists a deleted one for at least a week, free of charge."""
    state: str = kms.describe_key(KeyId=key_id)["KeyMetadata"]["KeyState"]
    return state != "PendingDeletion"


LISTINGS: tuple[Listing, ...] = (
    Listing("apigatewayv2", "get_apis", "Items", "Name"),
    Listing(
        "batch", "describe_compute_environments", "computeEnvironments", "computeEnvironmentName"
    ),
    Listing(
        *("batch", "describe_job_definitions", "jobDefinitions", "jobDefinitionArn"),
        {"status": "ACTIVE"},
    ),
    Listing("batch", "describe_job_queues", "jobQueues", "jobQueueName"),
    Listing("budgets", "describe_budgets", "Budgets", "BudgetName", {"AccountId": ACCOUNT}),
    Listing("cloudformation", "describe_stacks", "Stacks", "StackName"),
    Listing("cloudwatch", "describe_alarms", "MetricAlarms", "AlarmName"),
    Listing("cloudwatch", "describe_alarms", "CompositeAlarms", "AlarmName"),
    Listing("cloudwatch", "list_dashboards", "DashboardEntries", "DashboardName"),
    Listing("ec2", "describe_addresses", "Addresses", "AllocationId"),
    Listing("ec2", "describe_flow_logs", "FlowLogs", "FlowLogId"),
    Listing("ec2", "describe_internet_gateways", "InternetGateways", "InternetGatewayId"),
    Listing("ec2", "describe_nat_gateways", "NatGateways", "NatGatewayId"),
    Listing("ec2", "describe_network_interfaces", "NetworkInterfaces", "NetworkInterfaceId"),
    Listing("ec2", "describe_route_tables", "RouteTables", "RouteTableId"),
    Listing("ec2", "describe_security_groups", "SecurityGroups", "GroupId"),
    Listing("ec2", "describe_subnets", "Subnets", "SubnetId"),
    Listing("ec2", "describe_vpc_endpoints", "VpcEndpoints", "VpcEndpointId"),
    Listing("ec2", "describe_vpcs", "Vpcs", "VpcId"),
    Listing("ecr", "describe_repositories", "repositories", "repositoryName"),
    Listing("ecs", "list_clusters", "clusterArns", None),
    Listing("ecs", "list_task_definitions", "taskDefinitionArns", None),
    Listing("efs", "describe_file_systems", "FileSystems", "FileSystemId"),
    Listing("elbv2", "describe_load_balancers", "LoadBalancers", "LoadBalancerName"),
    Listing("elbv2", "describe_target_groups", "TargetGroups", "TargetGroupName"),
    Listing("iam", "list_policies", "Policies", "PolicyName", {"Scope": "Local"}),
    Listing("iam", "list_roles", "Roles", "RoleName"),
    Listing("kms", "list_aliases", "Aliases", "AliasName"),
    Listing("kms", "list_keys", "Keys", "KeyId", is_there=_is_kept),
    Listing("lambda", "list_functions", "Functions", "FunctionName"),
    Listing("lambda-core", "list_network_connectors", "NetworkConnectors", "Name"),
    Listing("lambda-microvms", "list_microvm_images", "items", "name"),
    Listing("logs", "describe_log_groups", "logGroups", "logGroupName"),
    Listing("logs", "describe_metric_filters", "metricFilters", "filterName"),
    Listing("rds", "describe_db_instances", "DBInstances", "DBInstanceIdentifier"),
    Listing("rds", "describe_db_parameter_groups", "DBParameterGroups", "DBParameterGroupName"),
    Listing("rds", "describe_db_proxies", "DBProxies", "DBProxyName"),
    Listing("rds", "describe_db_snapshots", "DBSnapshots", "DBSnapshotIdentifier"),
    Listing("rds", "describe_db_subnet_groups", "DBSubnetGroups", "DBSubnetGroupName"),
    Listing("s3", "list_buckets", "Buckets", "Name"),
    Listing("secretsmanager", "list_secrets", "SecretList", "Name"),
    Listing("servicediscovery", "list_namespaces", "Namespaces", "Name"),
    Listing("servicediscovery", "list_services", "Services", "Name"),
    Listing("sns", "list_topics", "Topics", "TopicArn"),
    Listing("sqs", "list_queues", "QueueUrls", None),
    Listing("ssm", "describe_parameters", "Parameters", "Name"),
)


def inventory(aws: EmbeddedAws) -> frozenset[Resource]:
    """Every resource that exists now."""
    return frozenset(found for listing in LISTINGS for found in listing.resources(aws))


def left(before: Iterable[Resource], after: Iterable[Resource]) -> list[Resource]:
    """The resources that exist after, but did not before."""
    return sorted(frozenset(after) - frozenset(before))


def describe(remaining: list[Resource]) -> str:
    """Describe the remaining resources in a sentence."""
    if not remaining:
        return (
            f"Nothing is left but the CDK bootstrap stack {BOOTSTRAP_STACK} "
            f"({len(LISTINGS)} kinds of resources checked)."
        )
    return "Left behind: " + ", ".join(str(resource) for resource in remaining)
