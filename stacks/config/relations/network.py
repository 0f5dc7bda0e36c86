"""Relations of the VPC: an existing one is complete, and compute inside it reaches AWS."""

from __future__ import annotations

from collections.abc import Iterator
from ipaddress import IPv4Network
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from stacks.config.stage import StageConfig

#: Cut for nine subnets it leaves 59 addresses in each; /23 leaves 27.
_LONGEST_PREFIX = 22

_EXISTING = (
    "availability_zones",
    "private_subnet_ids",
    "isolated_subnet_ids",
    "public_subnet_ids",
)


def existing_subnets_belong_to_an_existing_vpc(stage: StageConfig) -> Iterator[str]:
    """A new VPC gets new subnets."""
    if stage.network.vpc_id is None:
        for name in _EXISTING:
            if getattr(stage.network, name):
                yield (
                    f"network.{name} is set and network.vpc_id is null, allowed is []: use the id "
                    "of their VPC, or remove them"
                )


def existing_vpc_has_two_zones(stage: StageConfig) -> Iterator[str]:
    """A database needs subnets in two zones, and so does a service that survives one of them.

    https://docs.aws.amazon.com/AmazonRDS/latest/UserGuide/USER_VPC.WorkingWithRDSInstanceinaVPC.html
    """
    zones = stage.network.availability_zones
    if stage.network.vpc_id and len(set(zones)) < 2:  # noqa: PLR2004 - two zones
        yield (
            f"network.availability_zones has {len(set(zones))} of {stage.network.vpc_id}, allowed "
            "are two or more different ones: add the zones of its subnets"
        )
    if len(set(zones)) < len(zones):
        yield (
            "network.availability_zones has a zone twice, allowed is once each: remove it, and its "
            "second subnets"
        )


def existing_subnets_cover_the_zones(stage: StageConfig) -> Iterator[str]:
    """Each list names a subnet for each zone, in the order of the zones."""
    zones = stage.network.availability_zones
    for name in _EXISTING[1:]:
        subnets = getattr(stage.network, name)
        if stage.network.vpc_id and subnets and len(subnets) != len(zones):
            yield (
                f"network.{name} has {len(subnets)} for the {len(zones)} of "
                "network.availability_zones, allowed is one for each: add or remove some"
            )


def existing_vpc_has_the_subnets_that_are_needed(stage: StageConfig) -> Iterator[str]:
    """A stage uses only subnets that the configuration names."""
    if stage.network.vpc_id is None:
        return
    needed = {
        "private_subnet_ids": (stage.needs_private_subnets, "what calls AWS from inside it"),
        "isolated_subnet_ids": (stage.database.enabled, "the database"),
        "public_subnet_ids": (
            stage.needs_public_subnets,
            "the load balancer, or what has public addresses,",
        ),
    }
    for name, (is_needed, what) in needed.items():
        if is_needed and not getattr(stage.network, name):
            yield (
                f"network.{name} is [] and {what} is to be in {stage.network.vpc_id}, allowed is a "
                "subnet for each zone: add them"
            )


def new_vpc_has_room_for_the_control_plane(stage: StageConfig) -> Iterator[str]:
    """A deploy doubles the services, beside the load balancer, functions and endpoints.

    https://docs.aws.amazon.com/elasticloadbalancing/latest/application/application-load-balancers.html#subnets-load-balancer
    """
    network = stage.network
    if (
        stage.control_plane.kind == "fargate"
        and network.vpc_id is None
        and IPv4Network(network.cidr).prefixlen > _LONGEST_PREFIX
    ):
        yield (
            f'network.cidr is {network.cidr} and control_plane.kind is "fargate", allowed is /16 '
            f"to /{_LONGEST_PREFIX}: use a larger range"
        )


def existing_vpc_is_left_as_it_is(stage: StageConfig) -> Iterator[str]:
    """The owner of a VPC provides routes and flow logs; a second set would clash with them."""
    network = stage.network
    if network.vpc_id:
        for name, off in (("nat_gateways", 0), ("endpoints", False), ("flow_logs", False)):
            if getattr(network, name) != off:
                yield (
                    f"network.{name} is set and network.vpc_id is {network.vpc_id}, allowed is "
                    f"{str(off).lower()}: remove it, the VPC has its own"
                )


def existing_vpc_is_used(stage: StageConfig) -> Iterator[str]:
    """A configured VPC that contains nothing is a mistake."""
    if stage.network.vpc_id and not stage.needs_vpc:
        yield (
            f"network.vpc_id is {stage.network.vpc_id} and nothing of the stage is inside a VPC, "
            "allowed is null: use it by network.function_in_vpc, database.enabled, or a target of "
            "batch or ecs, or remove it"
        )


def compute_in_the_vpc_has_a_way_out(stage: StageConfig) -> Iterator[str]:
    """Without NAT gateway or endpoints it reaches neither SQS nor its secrets nor its logs."""
    if stage.network.has_a_way_out:
        return
    inside = {
        "network.function_in_vpc is true": stage.network.function_in_vpc,
        'control_plane.kind is "fargate"': stage.control_plane.kind == "fargate"
        and not stage.control_plane.public_addresses,
        f"database.rotation_days is {stage.database.rotation_days}": stage.database.enabled
        and stage.database.rotation_days is not None,
    }
    for what, is_inside in inside.items():
        if is_inside:
            yield (
                f"{what} and network.nat_gateways is 0 and network.endpoints is false, allowed is "
                "1 NAT gateway or more, or endpoints: raise nat_gateways, or use endpoints"
            )


def nat_gateways_or_endpoints(stage: StageConfig) -> Iterator[str]:
    """Both together cost twice, and endpoints exist so that nothing reaches the Internet."""
    if stage.network.endpoints and stage.network.nat_gateways:
        yield (
            f"network.endpoints is true and network.nat_gateways is {stage.network.nat_gateways}, "
            "allowed is one of the two: change endpoints to false or nat_gateways to 0"
        )


def nat_gateways_have_a_zone_each(stage: StageConfig) -> Iterator[str]:
    """A zone takes one NAT gateway."""
    if stage.network.nat_gateways > stage.network.max_azs:
        yield (
            f"network.nat_gateways is {stage.network.nat_gateways}, allowed is at most "
            f"network.max_azs, {stage.network.max_azs}: lower nat_gateways or raise max_azs"
        )


RELATIONS = (
    existing_subnets_belong_to_an_existing_vpc,
    existing_vpc_has_two_zones,
    existing_subnets_cover_the_zones,
    existing_vpc_has_the_subnets_that_are_needed,
    new_vpc_has_room_for_the_control_plane,
    existing_vpc_is_left_as_it_is,
    existing_vpc_is_used,
    compute_in_the_vpc_has_a_way_out,
    nat_gateways_or_endpoints,
    nat_gateways_have_a_zone_each,
)
