"""The VPC of a stage: a new one, or an existing one."""

from __future__ import annotations

from pydantic import Field

from stacks.config.sections.section import PrivateNetwork, Section, SubnetId, ZoneName, rule

#: The address range of a new VPC is divided for this many zones from the start.
MOST_AZS = 3


class NetworkConfig(Section):
    """The VPC of the stage, which exists only if some resource needs it."""

    vpc_id: str | None = Field(
        None,
        pattern=r"^vpc-([0-9a-f]{8}|[0-9a-f]{17})$",
        description="An existing VPC, with the zones and subnets below; null: a new one. Its owner "
        "provides its routes to the outside.",
        examples=["vpc-0a1b2c3d"],
        json_schema_extra=rule("the id of a VPC"),
    )
    availability_zones: list[ZoneName] = Field(
        [],
        description="Zones of the existing VPC's subnets, in the order of each list of subnets.",
    )
    private_subnet_ids: list[SubnetId] = Field(
        [],
        description="Subnets of the existing VPC with a NAT gateway or endpoints, one for each "
        "zone: for the functions and the control plane.",
    )
    isolated_subnet_ids: list[SubnetId] = Field(
        [],
        description="Subnets of the existing VPC for the database, one for each zone; they need no "
        "route to the outside.",
    )
    public_subnet_ids: list[SubnetId] = Field(
        [],
        description="Subnets of the existing VPC with a route to an internet gateway, one for each "
        "zone: for a load balancer on the Internet.",
    )
    cidr: PrivateNetwork = Field(
        "10.42.0.0/16",
        description="Private address range of a new VPC, from /16 to /24 (/22 with a control "
        "plane). It cannot change while the VPC contains any resource.",
        examples=["10.42.0.0/16"],
        json_schema_extra=rule("a private IPv4 range from /16 to /24"),
    )
    max_azs: int = Field(
        2,
        ge=2,
        le=MOST_AZS,
        description="Number of Availability Zones of a new VPC; a database needs two. The Region "
        "must give the account that many: us-west-1 gives two.",
    )
    nat_gateways: int = Field(
        0,
        ge=0,
        le=MOST_AZS,
        description="Number of NAT gateways of a new VPC; with 0, and without `endpoints`, the VPC "
        "reaches nothing outside but S3 and costs nothing.",
    )
    endpoints: bool = Field(
        False,
        description="Whether a new VPC reaches AWS services through VPC endpoints instead of a NAT "
        "gateway, without any access to the Internet.",
    )
    function_in_vpc: bool = Field(
        False,
        description="Whether the functions run inside the VPC, which an Execution API with a "
        "private address needs.",
    )
    flow_logs: bool = Field(
        False,
        description="Whether rejected and accepted connections in a new VPC are logged.",
    )

    @property
    def has_a_way_out(self) -> bool:
        """Whether code in the VPC reaches AWS, which an existing VPC is trusted to provide."""
        return self.vpc_id is not None or self.endpoints or self.nat_gateways > 0
