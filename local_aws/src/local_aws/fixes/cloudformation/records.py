"""CloudFormation supports resources of which ministack has only the APIs, or not even those.

They are records: no connection is logged, proxied or linked, no secret is rotated, no cost counted.
"""

from __future__ import annotations

import uuid
from collections.abc import Callable, Iterator
from typing import Any

from ministack.services import budgets, ec2, ecs, rds, secretsmanager

from local_aws.fixes.cloudformation._cloudformation import (
    Created,
    Properties,
    call,
    element,
    handler,
)


def apply() -> None:
    """Create and delete them through ministack's own APIs."""
    for resource_type, create, delete in (
        ("AWS::ApiGatewayV2::VpcLink", _create_vpc_link, _delete_nothing),
        ("AWS::Budgets::Budget", _create_budget, _delete_budget),
        (
            "AWS::ECS::ClusterCapacityProviderAssociations",
            _associate_capacity_providers,
            _part_from_capacity_providers,
        ),
        ("AWS::EC2::FlowLog", _create_flow_log, _delete_flow_log),
        ("AWS::RDS::DBProxy", _create_proxy, _delete_proxy),
        ("AWS::RDS::DBProxyTargetGroup", _create_targets, _delete_targets),
        ("AWS::SecretsManager::RotationSchedule", _create_rotation, _delete_rotation),
    ):
        _register(resource_type, create, delete)


def _register(
    resource_type: str,
    create: Callable[[Properties], Created],
    delete: Callable[[str, Properties], None],
) -> None:
    def replace(physical_id: str, old: Properties, new: Properties, *_: Any) -> Created:  # noqa: ANN401 - ministack's
        delete(physical_id, old)
        return create(new)

    handler(resource_type).update(
        create=lambda _logical_id, properties, _stack: create(properties),
        update=replace,
        delete=delete,
    )


def _create_budget(properties: Properties) -> Created:
    # CloudFormation generates a missing name.
    budget = {"BudgetName": f"budget-{uuid.uuid4().hex[:12]}", **properties["Budget"]}
    call(
        budgets._create_budget,
        {
            "Budget": budget,
            "NotificationsWithSubscribers": properties.get("NotificationsWithSubscribers", []),
        },
    )
    return budget["BudgetName"], {}


def _delete_budget(name: str, _properties: Properties) -> None:
    budgets._delete_budget({"BudgetName": name})


def _create_vpc_link(properties: Properties) -> Created:
    if not properties["SubnetIds"]:
        raise ValueError("a VPC link needs subnets")
    return (link_id := uuid.uuid4().hex[:10]), {"VpcLinkId": link_id}


def _associate_capacity_providers(properties: Properties) -> Created:
    call(
        ecs._put_cluster_capacity_providers,
        {
            "cluster": properties["Cluster"],
            "capacityProviders": properties["CapacityProviders"],
            "defaultCapacityProviderStrategy": [],
        },
    )
    return properties["Cluster"], {}


def _part_from_capacity_providers(cluster: str, _properties: Properties) -> None:
    """Refuse while a service of the cluster is there, as AWS does."""
    for service in ecs._services.values():
        if service["clusterArn"].endswith(f"/{cluster}") and service["status"] == "ACTIVE":
            raise ValueError("The specified capacity provider is in use and cannot be removed.")


def _delete_nothing(_physical_id: str, _properties: Properties) -> None:
    """Delete what exists only as a record of the stack."""


def _create_flow_log(properties: Properties) -> Created:
    request = {**properties, "ResourceId": [properties["ResourceId"]]}
    answer = call(ec2._create_flow_logs, _query(request, list_separator="."))
    return (flow_log_id := element(answer, "item")), {"Id": flow_log_id}


def _delete_flow_log(flow_log_id: str, _properties: Properties) -> None:
    ec2._delete_flow_logs({"FlowLogId.1": [flow_log_id]})


def _create_proxy(properties: Properties) -> Created:
    call(rds._create_db_proxy, _query(properties))
    proxy = rds._db_proxies[properties["DBProxyName"]]
    attributes = {name: proxy[name] for name in ("DBProxyArn", "Endpoint", "VpcId")}
    return proxy["DBProxyName"], attributes


def _delete_proxy(name: str, _properties: Properties) -> None:
    rds._delete_db_proxy({"DBProxyName": [name]})


def _create_targets(properties: Properties) -> Created:
    call(rds._register_db_proxy_targets, _query(properties))
    arn = rds._db_proxies[properties["DBProxyName"]]["TargetGroup"]["TargetGroupArn"]
    return arn, {"TargetGroupArn": arn}


def _delete_targets(_arn: str, properties: Properties) -> None:
    rds._deregister_db_proxy_targets(_query(properties))


def _create_rotation(properties: Properties) -> Created:
    secret = _secret(properties)
    secret["RotationEnabled"] = True
    secret["RotationRules"] = properties.get("RotationRules")
    return secret["ARN"], {}


def _delete_rotation(_arn: str, properties: Properties) -> None:
    secret = _secret(properties)
    secret["RotationEnabled"] = False
    secret["RotationRules"] = None


def _secret(properties: Properties) -> dict[str, Any]:
    _, secret = secretsmanager._resolve(properties["SecretId"])
    if secret is None:
        raise ValueError(f"Secrets Manager can't find the secret {properties['SecretId']}")
    found: dict[str, Any] = secret
    return found


def _query(properties: Properties, *, list_separator: str = ".member.") -> dict[str, list[str]]:
    """Properties as parameters of AWS's query protocol."""

    def flat(prefix: str, value: Any) -> Iterator[tuple[str, list[str]]]:  # noqa: ANN401 - JSON
        if isinstance(value, dict):
            for name, inner in value.items():
                yield from flat(f"{prefix}.{name}", inner)
        elif isinstance(value, list):
            for number, inner in enumerate(value, start=1):
                yield from flat(f"{prefix}{list_separator}{number}", inner)
        else:
            text = str(value)
            yield prefix, [text.lower() if isinstance(value, bool) else text]

    return {
        name: text for prefix, value in properties.items() for name, text in flat(prefix, value)
    }
