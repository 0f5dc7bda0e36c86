"""CloudFormation supports security-group rules as separate resources.

CDK creates `AWS::EC2::SecurityGroupIngress` and `...Egress` if two groups refer to each other;
ministack supports only rules inside a group.
"""

from __future__ import annotations

import uuid
from typing import Any

from ministack.services import ec2
from ministack.services.cloudformation import provisioners

from local_aws.fixes.cloudformation._cloudformation import Created, Properties, handler


def apply() -> None:
    """Register both types; a rule is stored in its group's list."""
    _register("AWS::EC2::SecurityGroupIngress", "IpPermissions")
    _register("AWS::EC2::SecurityGroupEgress", "IpPermissionsEgress")


def _register(resource_type: str, direction: str) -> None:
    def create(_logical_id: str, properties: Properties, _stack: str) -> Created:
        group = ec2._security_groups.get(properties["GroupId"])
        if group is None:
            raise ValueError(f"The security group '{properties['GroupId']}' does not exist")
        group.setdefault(direction, []).extend(_permissions(properties))
        rule_id = f"sgr-{uuid.uuid4().hex[:17]}"
        return rule_id, {"Id": rule_id}

    def delete(_rule_id: str, properties: Properties) -> None:
        rules = (ec2._security_groups.get(properties["GroupId"]) or {}).get(direction, [])
        for permission in _permissions(properties):
            if permission in rules:
                rules.remove(permission)

    def update(rule_id: str, old: Properties, new: Properties, stack: str) -> Created:
        delete(rule_id, old)
        create(rule_id, new, stack)
        return rule_id, {"Id": rule_id}

    handler(resource_type).update(create=create, update=update, delete=delete)


def _permissions(properties: Properties) -> list[dict[str, Any]]:
    permissions: list[dict[str, Any]] = provisioners._ec2_sg_permissions([properties])
    return permissions
