"""The rules of a stage's security groups, as EC2 tells them apart."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from tests.synth.assembly import Assembly

_POSTGRES = 5432

#: Every property that names the other side of a rule.
_PEERS = (
    "CidrIp",
    "CidrIpv6",
    "DestinationPrefixListId",
    "DestinationSecurityGroupId",
    "SourcePrefixListId",
    "SourceSecurityGroupId",
)

_STAND_ALONE = {
    "AWS::EC2::SecurityGroupIngress": "ingress",
    "AWS::EC2::SecurityGroupEgress": "egress",
}


@dataclass(frozen=True)
class Rule:
    """One rule; two that are equal cannot both be added to a group.

    EC2 compares all of it but the description, and answers `InvalidPermission.Duplicate`:
    https://docs.aws.amazon.com/AWSEC2/latest/UserGuide/security-group-rules.html

    Attributes:
        where: The resource that has it, which EC2 does not compare.
    """

    group: str
    direction: str
    protocol: str
    ports: tuple[str, str]
    peer: str
    where: str = field(compare=False)


def rules(assembly: Assembly) -> Iterator[Rule]:
    """Every rule of every stack, inside its group or a resource of its own."""
    exported = _exported(assembly)
    for resource in assembly.resources():
        here = resource.part
        if resource.type == "AWS::EC2::SecurityGroup":
            group = {"Fn::GetAtt": [resource.logical_id, "GroupId"]}
            for direction in ("ingress", "egress"):
                for inline in resource.properties.get(f"SecurityGroup{direction.title()}", ()):
                    properties = {**inline, "GroupId": group}
                    yield _rule(exported, here, direction, properties, str(resource))
        elif direction := _STAND_ALONE.get(resource.type, ""):
            yield _rule(exported, here, direction, resource.properties, str(resource))


def _rule(
    exported: Mapping[str, str],
    part: str,
    direction: str,
    properties: Mapping[str, Any],
    where: str,
) -> Rule:
    def resolved(name: str) -> str:
        return _resolved(exported, part, properties.get(name, -1))

    return Rule(
        group=resolved("GroupId"),
        direction=direction,
        protocol=str(properties["IpProtocol"]),
        ports=(resolved("FromPort"), resolved("ToPort")),
        peer=", ".join(resolved(name) for name in _PEERS if name in properties),
        where=where,
    )


def _exported(assembly: Assembly) -> Mapping[str, str]:
    """What each output of each stack stands for, by the name that others know it by."""
    found = {}
    for part in assembly.parts:
        for name, output in assembly.json(part).get("Outputs", {}).items():
            value = _resolved({}, part, output["Value"])
            found[f"airflow-lambda-{assembly.stage}-{part}.{name}"] = value
            if "Export" in output:
                found[output["Export"]["Name"]] = value
    return found


def _resolved(exported: Mapping[str, str], part: str, value: object) -> str:
    """The value, as text that is the same in each stack; the port of a database is Postgres's."""
    match value:
        case {"Fn::ImportValue": str(name)}:
            return exported[name]
        case {"Fn::GetStackOutput": {"StackName": str(stack), "OutputName": str(name)}}:
            return exported[f"{stack}.{name}"]
        case {"Fn::GetAtt": [_, "Endpoint.Port"]}:
            return str(_POSTGRES)
        case {"Fn::GetAtt": [str(logical_id), "GroupId"]} | {"Ref": str(logical_id)}:
            return f"{part}/{logical_id}"
        case str() | int():
            return str(value)
    return f"{part}/{json.dumps(value, sort_keys=True)}"
