"""Features that some Regions lack, as documented by AWS.

A stage without `region` is not checked: its Region is known at deploy, which then fails.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

from stacks.config.sections.section import region_of

if TYPE_CHECKING:
    from stacks.config.stage import StageConfig


@dataclass(frozen=True, slots=True)
class Gap:
    """A feature that some Regions lack.

    Attributes:
        setting: The setting that asks for it.
        missing_in: The Regions, as a pattern.
        is_asked: Whether a stage asks for it.
        source: Where AWS says so.
    """

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
    Gap(
        setting="shared_files.mount",
        missing_in=re.compile(r"ap-(southeast-[567]|east-2)|ca-west-1|mx-central-1"),
        is_asked=lambda stage: stage.shared_files.mount is not None,
        source="https://docs.aws.amazon.com/lambda/latest/dg/configuration-filesystem.html",
    ),
)


#: Regions where an account gets fewer zones than others do.
_FEW_ZONES = {"us-west-1": 2}


def region_has_what_is_asked_for(stage: StageConfig) -> Iterator[str]:
    """A feature that the Region lacks must fail at synth, not half-way through a deploy."""
    for gap in GAPS:
        if stage.region and gap.is_asked(stage) and gap.missing_in.fullmatch(stage.region):
            yield (
                f"{gap.setting} is asked for and region is {stage.region}, allowed are Regions "
                f"that have it ({gap.source}): change the region, or remove the setting"
            )


def region_gives_the_account_as_many_zones(stage: StageConfig) -> Iterator[str]:
    """A new VPC takes the first zones of the account's list, and the deploy fails where it ends.

    https://aws.amazon.com/about-aws/global-infrastructure/regions_az/
    """
    network = stage.network
    most = _FEW_ZONES.get(stage.region or "", network.max_azs)
    if stage.needs_vpc and network.vpc_id is None and network.max_azs > most:
        yield (
            f"network.max_azs is {network.max_azs} and region is {stage.region}, allowed is "
            f"{most}, as many as an account gets there: lower max_azs"
        )


def existing_image_is_in_the_region(stage: StageConfig) -> Iterator[str]:
    """Lambda pulls from the ECR of its own Region only.

    https://docs.aws.amazon.com/lambda/latest/dg/images-create.html#gettingstarted-images-permissions
    """
    image = stage.image.existing
    if image and stage.region and image.region != stage.region:
        yield (
            f"image.uri is in {image.region}, allowed is the stage's region, {stage.region}: use a "
            "copy of the image in that Region"
        )


def snapshot_is_in_the_region(stage: StageConfig) -> Iterator[str]:
    """RDS restores a snapshot in its own Region only, where a copy must be."""
    snapshot = stage.database.snapshot_identifier or ""
    region = region_of(snapshot) if snapshot.startswith("arn:") else stage.region
    if stage.region and region != stage.region:
        yield (
            f"database.snapshot_identifier is in {region}, allowed is the stage's "
            f"region, {stage.region}: use a copy of the snapshot in that Region"
        )


def zones_are_in_the_region(stage: StageConfig) -> Iterator[str]:
    """A zone of another Region is a typing error."""
    for zone in stage.network.availability_zones:
        if stage.region and not re.fullmatch(re.escape(stage.region) + "[a-z]", zone):
            yield (
                f'network.availability_zones has "{zone}", allowed are zones of the stage\'s '
                f"region, {stage.region}: correct it"
            )


RELATIONS = (
    region_has_what_is_asked_for,
    region_gives_the_account_as_many_zones,
    existing_image_is_in_the_region,
    snapshot_is_in_the_region,
    zones_are_in_the_region,
)
