"""The base of every section, and the types that several sections share."""

from __future__ import annotations

import ipaddress
from typing import Annotated, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, JsonValue

#: The useful ones of the numbers that CloudWatch Logs takes.
#: https://docs.aws.amazon.com/AmazonCloudWatchLogs/latest/APIReference/API_PutRetentionPolicy.html
RetentionDays = Literal[1, 3, 7, 14, 30, 90, 180, 365, 731, 1827, 3653]

#: Partition, Region and account of an ARN of a resource that a stage may name.
ARN_HEAD = r"arn:aws[a-z-]*:{service}:[a-z]{{2}}(-[a-z]+)+-[0-9]:[0-9]{{12}}:"

UUID = r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}"

#: The private ranges: https://datatracker.ietf.org/doc/html/rfc1918#section-3
_PRIVATE = tuple(
    ipaddress.IPv4Network(block) for block in ("10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16")
)


class Section(BaseModel):
    """A frozen model without coercion and unknown keys."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)


def _an_ipv4_range(value: str) -> str:
    ipaddress.IPv4Network(value)
    return value


def _a_private_network(value: str) -> str:
    network = ipaddress.IPv4Network(value)
    private = any(network.subnet_of(block) for block in _PRIVATE)
    # https://docs.aws.amazon.com/vpc/latest/userguide/vpc-cidr-blocks.html
    if not private or not 16 <= network.prefixlen <= 24:  # noqa: PLR2004 - the page's bounds, but /24: nine subnets must fit
        raise ValueError(f"it must be a range from /16 to /24 in {', '.join(map(str, _PRIVATE))}")
    return value


def rule(text: str) -> dict[str, JsonValue]:
    """Return a text's rule in words, as a field's `json_schema_extra`.

    Messages and the reference page say it before the first example: "12 digits such as ...".
    """
    return {"rule": text}


Cidr = Annotated[
    str,
    AfterValidator(_an_ipv4_range),
    Field(examples=["10.0.0.0/8"], json_schema_extra=rule("an IPv4 range")),
]
PrivateNetwork = Annotated[str, AfterValidator(_a_private_network)]
SubnetId = Annotated[
    str,
    Field(
        pattern=r"^subnet-([0-9a-f]{8}|[0-9a-f]{17})$",
        examples=["subnet-0a1b2c3d"],
        json_schema_extra=rule("the id of a subnet"),
    ),
]
ZoneName = Annotated[
    str,
    Field(
        pattern=r"^[a-z]{2}(-[a-z]+)+-[0-9]+[a-z]$",
        examples=["eu-west-1a"],
        json_schema_extra=rule("the name of an availability zone"),
    ),
]


def region_of(arn: str) -> str:
    """Return the Region in an ARN."""
    return arn.split(":")[3]
