"""CloudFormation supports `AWS::EC2::EIP` and `AWS::EC2::NatGateway`.

ministack's EC2 has both, but its CloudFormation has neither. No packet is routed.
"""

from __future__ import annotations

from ministack.services import ec2
from ministack.services.cloudformation import provisioners

from local_aws.fixes.cloudformation._cloudformation import (
    Created,
    Properties,
    call,
    element,
    handler,
)


def apply() -> None:
    """Create and delete both through ministack's EC2."""
    handler("AWS::EC2::EIP").update(
        create=_create_address, update=_keep_address, delete=_delete_address
    )
    handler("AWS::EC2::NatGateway").update(
        create=_create_gateway, update=_keep_gateway, delete=_delete_gateway
    )


def _create_address(_logical_id: str, properties: Properties, _stack: str) -> Created:
    body = call(ec2._allocate_address, {"Domain": [properties.get("Domain", "vpc")]})
    allocation_id = element(body, "allocationId")
    provisioners._ec2_apply_tags(allocation_id, properties)
    public_ip = element(body, "publicIp")
    return public_ip, {"AllocationId": allocation_id, "PublicIp": public_ip}


def _keep_address(public_ip: str, old: Properties, new: Properties, _stack: str) -> Created:
    allocation_id = _allocation(public_ip)
    provisioners._ec2_apply_tags(allocation_id, new, old)
    return public_ip, {"AllocationId": allocation_id, "PublicIp": public_ip}


def _delete_address(public_ip: str, _properties: Properties) -> None:
    call(ec2._release_address, {"AllocationId": [_allocation(public_ip)]})


def _create_gateway(_logical_id: str, properties: Properties, _stack: str) -> Created:
    names = ("SubnetId", "AllocationId", "ConnectivityType")
    body = call(
        ec2._create_nat_gateway,
        {name: [properties[name]] for name in names if name in properties},
    )
    gateway_id = element(body, "natGatewayId")
    provisioners._ec2_apply_tags(gateway_id, properties)
    return gateway_id, {"NatGatewayId": gateway_id}


def _keep_gateway(gateway_id: str, old: Properties, new: Properties, _stack: str) -> Created:
    provisioners._ec2_apply_tags(gateway_id, new, old)
    return gateway_id, {"NatGatewayId": gateway_id}


def _delete_gateway(gateway_id: str, _properties: Properties) -> None:
    ec2._nat_gateways.pop(gateway_id, None)
    ec2._tags.pop(gateway_id, None)


def _allocation(public_ip: str) -> str:
    return next(
        (
            str(allocation_id)
            for allocation_id, address in ec2._addresses.items()
            if address["PublicIp"] == public_ip
        ),
        "",
    )
