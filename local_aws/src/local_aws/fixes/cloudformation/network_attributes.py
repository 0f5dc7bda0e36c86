"""`Fn::GetAtt` returns the address range of a VPC and of a subnet.

CDK uses the VPC's `CidrBlock` in the rules of interface endpoints; ministack fails with "Requested
attribute CidrBlock does not exist in schema".
"""

from __future__ import annotations

from typing import Any

from ministack.services import ec2

from local_aws.fixes.cloudformation._cloudformation import (
    Created,
    Properties,
    after_create_and_update,
)


def apply() -> None:
    """Add the address range to ministack's attributes."""
    after_create_and_update("AWS::EC2::VPC", _with_vpc_attributes)
    after_create_and_update("AWS::EC2::Subnet", _with_subnet_attributes)


def _with_vpc_attributes(
    vpc_id: str, _properties: Properties, attributes: dict[str, Any]
) -> Created:
    return vpc_id, {
        **attributes,
        "CidrBlock": ec2._vpcs[vpc_id]["CidrBlock"],
        "CidrBlockAssociations": [],
        "Ipv6CidrBlocks": [],
    }


def _with_subnet_attributes(
    subnet_id: str, _properties: Properties, attributes: dict[str, Any]
) -> Created:
    subnet = ec2._subnets[subnet_id]
    return subnet_id, {
        **attributes,
        "CidrBlock": subnet["CidrBlock"],
        "VpcId": subnet["VpcId"],
    }
