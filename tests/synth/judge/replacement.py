"""What a deploy replaces, and what AWS refuses because of it.

CloudFormation replaces a resource if a property changes that can only be given when it is created.
It makes the new one before it deletes the old one. cfn-lint's schemas say which properties these
are (`createOnlyProperties`) and what tells two resources of a type apart (`primaryIdentifier`).
https://docs.aws.amazon.com/AWSCloudFormation/latest/UserGuide/using-cfn-updating-stacks-update-behaviors.html
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from cfnlint.schema import PROVIDER_SCHEMA_MANAGER

from tests.synth.assembly import Assembly, Resource
from tests.synth.judge.rendered import Rendering

_ANY_REGION = "eu-west-1"

#: What tells two resources apart that CloudFormation knows by an id of its own.
_IDENTITIES = {
    "AWS::EC2::Route": ("RouteTableId", "DestinationCidrBlock"),
    "AWS::EC2::SecurityGroupEgress": (
        *("GroupId", "IpProtocol", "FromPort", "ToPort"),
        *("CidrIp", "DestinationSecurityGroupId", "DestinationPrefixListId"),
    ),
    "AWS::EC2::SecurityGroupIngress": (
        *("GroupId", "IpProtocol", "FromPort", "ToPort"),
        *("CidrIp", "SourceSecurityGroupId", "SourcePrefixListId"),
    ),
}

#: What the schemas call "conditional", but always replaces:
#: https://docs.aws.amazon.com/AWSCloudFormation/latest/TemplateReference/aws-resource-rds-dbinstance.html
_ALSO_CREATE_ONLY = {"AWS::RDS::DBInstance": ("DBSnapshotIdentifier",)}

#: What belongs to one owner at a time: the type that attaches it, the property that names it, and
#: the one that names the owner if that is another resource.
_EXCLUSIVE = (
    # "The following target groups cannot be associated with more than one load balancer":
    # https://docs.aws.amazon.com/elasticloadbalancing/latest/APIReference/API_CreateListener.html
    ("AWS::ElasticLoadBalancingV2::Listener", "DefaultActions", "LoadBalancerArn"),
    # https://docs.aws.amazon.com/AWSEC2/latest/APIReference/API_CreateNatGateway.html
    ("AWS::EC2::NatGateway", "AllocationId", None),
    # https://docs.aws.amazon.com/AWSEC2/latest/APIReference/API_AttachInternetGateway.html
    ("AWS::EC2::VPCGatewayAttachment", "InternetGatewayId", None),
    # https://docs.aws.amazon.com/AWSEC2/latest/APIReference/API_AssociateRouteTable.html
    ("AWS::EC2::SubnetRouteTableAssociation", "SubnetId", None),
)

Key = tuple[str, str]


@dataclass(frozen=True)
class Change:
    """A stage before and after a deploy."""

    before: Assembly
    after: Assembly

    def refusals(self) -> Iterator[str]:
        """Yield why AWS would refuse the deploy, or a part of it."""
        yield from self._held()
        yield from self._duplicates()
        yield from self._exports()

    @cached_property
    def replaced(self) -> Mapping[Key, str]:
        """The resources that keep their logical id and are replaced, with the reason."""
        found: dict[Key, str] = {}
        grown = True
        while grown:
            grown = False
            for key in self._old.keys() & self._new.keys() - found.keys():
                reason = self._reason(key, found)
                if reason:
                    found[key] = reason
                    grown = True
        return found

    def _reason(self, key: Key, replaced: Mapping[Key, str]) -> str | None:
        old, new = self._old[key], self._new[key]
        if old.type != new.type:
            return None  # CloudFormation refuses it anyway; `test_pins.py` keeps ids.
        for path in create_only(old.type):
            was, becomes = (_at(resource.properties, path) for resource in (old, new))
            if was != becomes:
                return f"{path} changes"
            for id in references(becomes):
                if (key[0], id) in replaced:
                    return f"{path} is {id}, which is replaced"
        return None

    def _held(self) -> Iterator[str]:
        """What the old owner still holds when the new one is made."""
        for type_, property_, owner in _EXCLUSIVE:
            old, new = (
                {
                    (key[0], held): (key, owners)
                    for key, resource in resources.items()
                    if resource.type == type_
                    for held in references(resource.properties.get(property_))
                    for owners in [tuple(references(resource.properties.get(owner or "")))]
                }
                for resources in (self._old, self._new)
            )
            for held in sorted(old.keys() & new.keys() - self.replaced.keys()):
                if held not in self._old or held not in self._new:
                    continue
                (was, owners), (becomes, others) = old[held], new[held]
                same = was == becomes and was not in self.replaced
                same_owner = owner and owners == others and not self._any_replaced(was[0], owners)
                if not same and not same_owner:
                    yield f"{'/'.join(held)} stays with the old {was[1]} ({self._why(becomes)})"

    def _duplicates(self) -> Iterator[str]:
        """What exists already under the name of the new one."""
        before, after = Rendering(self.before), Rendering(self.after)
        there = {
            (resource.type, identity)
            for resource in self._old.values()
            if (identity := _identity(resource, before))
        }
        for key, resource in self._new.items():
            if key in self._old and key not in self.replaced:
                continue
            if self._any_replaced(key[0], references(_raw_identity(resource))):
                continue
            identity = _identity(resource, after)
            if identity and (resource.type, identity) in there:
                yield f"{resource} exists already as {identity} ({self._why(key)})"

    def _exports(self) -> Iterator[str]:
        """What cannot change or go because another stack still imports it."""
        imports = {user: _imports(self.before, user) for user in self.before.parts}
        for part in self.before.parts:
            if part not in self.after.parts:
                continue  # A deploy deletes no stack.
            old, new = (_exports(stage, part) for stage in (self.before, self.after))
            for name, value in old.items():
                users = [user for user, names in imports.items() if name in names]
                gone = name not in new
                changed = self._any_replaced(part, references(value))
                if users and (gone or changed):
                    yield (
                        f"{part} exports {name.rpartition(':')[2]} to {', '.join(users)}, and it "
                        f"{'goes' if gone else 'changes'}"
                    )

    def _any_replaced(self, part: str, ids: Iterator[str] | tuple[str, ...]) -> bool:
        return any((part, id) in self.replaced for id in ids)

    def _why(self, key: Key) -> str:
        return self.replaced.get(key, "it is new")

    @cached_property
    def _old(self) -> Mapping[Key, Resource]:
        return {(r.part, r.logical_id): r for r in self.before.resources()}

    @cached_property
    def _new(self) -> Mapping[Key, Resource]:
        return {(r.part, r.logical_id): r for r in self.after.resources()}


def create_only(type_: str) -> list[str]:
    """The paths of the properties whose change replaces a resource of a type."""
    schema = PROVIDER_SCHEMA_MANAGER.get_resource_schema(_ANY_REGION, type_).schema
    paths = schema.get("createOnlyProperties", [])
    also = _ALSO_CREATE_ONLY.get(type_, ())
    return [*(path.removeprefix("/properties/") for path in paths), *also]


def references(value: object) -> Iterator[str]:
    """Yield the logical ids that a value refers to."""
    if isinstance(value, dict):
        if "Ref" in value:
            yield value["Ref"]
        if "Fn::GetAtt" in value:
            yield value["Fn::GetAtt"][0]
        value = list(value.values())
    if isinstance(value, list):
        for item in value:
            yield from references(item)


def _at(properties: object, path: str) -> Any:
    for name in path.split("/"):
        properties = properties.get(name) if isinstance(properties, dict) else None
    return properties


def _raw_identity(resource: Resource) -> dict[str, Any]:
    """The properties that tell a resource apart, if the template gives all of them."""
    schema = PROVIDER_SCHEMA_MANAGER.get_resource_schema(_ANY_REGION, resource.type).schema
    names = _IDENTITIES.get(
        resource.type,
        tuple(path.removeprefix("/properties/") for path in schema["primaryIdentifier"]),
    )
    found = {name: resource.properties.get(name) for name in names}
    given = resource.type in _IDENTITIES or None not in found.values()
    return found if given else {}


def _identity(resource: Resource, rendering: Rendering) -> str:
    raw = _raw_identity(resource)
    return json.dumps(rendering.value(resource.part, raw), sort_keys=True) if raw else ""


def _exports(stage: Assembly, part: str) -> dict[str, Any]:
    return {
        str(output["Export"]["Name"]): output["Value"]
        for output in stage.json(part).get("Outputs", {}).values()
        if "Export" in output
    }


def _imports(stage: Assembly, part: str) -> set[str]:
    def within(node: object) -> Iterator[str]:
        if isinstance(node, dict) and "Fn::ImportValue" in node:
            yield str(node["Fn::ImportValue"])
        elif isinstance(node, dict | list):
            for inner in node.values() if isinstance(node, dict) else node:
                yield from within(inner)

    return set(within(stage.json(part)))
