"""The VPC of a stage: a new one, or one that is there."""

from __future__ import annotations

from pydantic import Field

from stacks.config.sections.section import PrivateNetwork, Section, SubnetId, ZoneName

#: The address range of a VPC is cut for as many zones from the start.
MOST_AZS = 3


class NetworkConfig(Section):
    """The VPC of the stage; it is made, or used, only if something is to be in it."""

    vpc_id: str | None = Field(
        None,
        pattern=r"^vpc-([0-9a-f]{8}|[0-9a-f]{17})$",
        description="An existing VPC; null: a new one. Its zones and subnets are named below, and "
        "its ways out are its owner's.",
        examples=["vpc-0a1b2c3d"],
    )
    availability_zones: list[ZoneName] = Field(
        [],
        description="Zones of the existing VPC's subnets, in the order in which each list of "
        "subnets has them.",
    )
    private_subnet_ids: list[SubnetId] = Field(
        [],
        description="Subnets of the existing VPC with a way out (NAT or endpoints), one for each "
        "zone: for the function and the control plane.",
    )
    isolated_subnet_ids: list[SubnetId] = Field(
        [],
        description="Subnets of the existing VPC for the database, one for each zone; they need no "
        "way out.",
    )
    public_subnet_ids: list[SubnetId] = Field(
        [],
        description="Subnets of the existing VPC with a route to an internet gateway, one for each "
        "zone: for a load balancer that the Internet reaches.",
    )
    cidr: PrivateNetwork = Field(
        "10.42.0.0/16",
        description="Address range of a new VPC, a private one from /16 to /24 (/22 with a control "
        "plane); it cannot change while the VPC has anything in it.",
        examples=["10.42.0.0/16"],
    )
    max_azs: int = Field(
        2,
        ge=2,
        le=MOST_AZS,
        description="Availability Zones that a new VPC's subnets spread over; a database needs "
        "two.",
    )
    nat_gateways: int = Field(
        0,
        ge=0,
        le=MOST_AZS,
        description="NAT gateways of a new VPC, for what runs inside it; 0: without `endpoints` "
        "the VPC reaches nothing outside and costs nothing.",
    )
    endpoints: bool = Field(
        False,
        description="Whether a new VPC reaches the AWS services that are needed through VPC "
        "endpoints instead of a NAT gateway, and the Internet not at all.",
    )
    function_in_vpc: bool = Field(
        False,
        description="Whether the functions run inside the VPC, as they must for an Execution API "
        "with a private address.",
    )
    flow_logs: bool = Field(
        False,
        description="Whether the rejected and accepted connections of a new VPC are logged.",
    )

    @property
    def has_a_way_out(self) -> bool:
        """Whether what runs inside the VPC reaches AWS; of an existing one its owner says so."""
        return self.vpc_id is not None or self.endpoints or self.nat_gateways > 0
