"""Features that some Regions lack, as documented by AWS.

A stage without `region` is not checked: its Region is known at deploy, which then fails.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from stacks.config.stage import StageConfig


@dataclass(frozen=True, slots=True)
class Gap:
    """A setting whose feature some Regions lack; `source` is the URL of AWS's documentation."""

    setting: str
    missing_in: re.Pattern[str]
    is_asked: Callable[[StageConfig], bool]
    source: str


GAPS = (
    Gap(
        setting="functions[].tenant_isolation",
        missing_in=re.compile(r"ap-southeast-6|(cn|us-gov)-.*"),
        is_asked=lambda stage: any(function.tenant_isolation for function in stage.functions),
        source="https://docs.aws.amazon.com/lambda/latest/dg/tenant-isolation.html",
    ),
)


def region_has_the_features(stage: StageConfig) -> Iterator[str]:
    """A missing feature is better found at synth than halfway through a deploy."""
    for gap in GAPS:
        if stage.region and gap.is_asked(stage) and gap.missing_in.fullmatch(stage.region):
            yield (
                f"region ({stage.region}) must be one with {gap.setting} ({gap.source}): change "
                "the region, or remove the setting"
            )


def existing_resources_are_in_the_region(stage: StageConfig) -> Iterator[str]:
    """Lambda pulls images, and a load balancer takes certificates, only from its own Region.

    https://docs.aws.amazon.com/lambda/latest/dg/images-create.html#gettingstarted-images-permissions

    https://docs.aws.amazon.com/acm/latest/userguide/acm-regions.html

    A KMS key works in its own Region only.
    """
    image = stage.image.existing
    arns = {
        "control_plane.certificate_arn": stage.control_plane.certificate_arn,
        "encryption.key_arn": stage.encryption.key_arn,
    }
    found = {"image.uri": image.region} if image else {}
    found |= {name: arn.split(":")[3] for name, arn in arns.items() if arn}
    for name, region in found.items():
        if stage.region and region != stage.region:
            yield (
                f"{name} ({region}) must be in the stage's region ({stage.region}): use one of "
                "that Region"
            )


def zones_are_in_the_region(stage: StageConfig) -> Iterator[str]:
    """A zone of another Region is a typing error."""
    for zone in stage.network.availability_zones:
        if stage.region and not re.fullmatch(re.escape(stage.region) + "[a-z]", zone):
            yield (
                f"network.availability_zones ({zone}) must be in the stage's region "
                f"({stage.region}): correct it"
            )
