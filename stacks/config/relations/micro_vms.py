"""Relations of targets that run MicroVMs of AWS Lambda."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from stacks.config.sections.targets import MicroVmTargetConfig

if TYPE_CHECKING:
    from stacks.config.stage import StageConfig

#: https://aws.amazon.com/about-aws/whats-new/2026/08/lambda-microvms-5-additional-regions
REGIONS = (
    "ap-northeast-1",
    "ap-south-1",
    "ap-southeast-1",
    "ap-southeast-2",
    "eu-central-1",
    "eu-north-1",
    "eu-west-1",
    "us-east-1",
    "us-east-2",
    "us-west-2",
)


def micro_vms_are_in_a_region_that_has_them(stage: StageConfig) -> Iterator[str]:
    """Elsewhere the deploy would fail half-way.

    https://aws.amazon.com/about-aws/whats-new/2026/08/lambda-microvms-5-additional-regions
    """
    image = stage.image.existing  # Lambda takes an image from its own Region only.
    where, region = ("image.uri is in", image.region) if image else ("region is", stage.region)
    for name in _names(stage):
        if region and region not in REGIONS:
            yield (
                f"targets[{name}] runs MicroVMs and {where} {region}, allowed are "
                f"{', '.join(REGIONS)}: change the region, or use a target of batch or ecs"
            )


def image_of_micro_vms_is_known_at_synth(stage: StageConfig) -> Iterator[str]:
    """The file from which Lambda builds them has the image's whole name, with both."""
    missing = [name for name in ("account", "region") if getattr(stage, name) is None]
    for name in _names(stage):
        if missing and not stage.image.uri:
            yield (
                f"targets[{name}] runs MicroVMs, which Lambda builds from a file that names the "
                f"image's account and Region, and {' and '.join(missing)} "
                f"{'are' if len(missing) > 1 else 'is'} null, allowed are those of the deploy: add "
                "them to the stage"
            )


def image_of_micro_vms_is_in_their_account(stage: StageConfig) -> Iterator[str]:
    """Lambda builds MicroVMs from images of the same account.

    https://docs.aws.amazon.com/lambda/latest/dg/microvms-images.html
    """
    image = stage.image.existing
    for name in _names(stage):
        if image and stage.account and image.account != stage.account:
            yield (
                f"targets[{name}] runs MicroVMs and image.uri is in the account {image.account}, "
                f"allowed is the stage's, {stage.account}: use a copy of the image there"
            )


def _names(stage: StageConfig) -> list[str]:
    return [target.name for target in stage.targets if isinstance(target, MicroVmTargetConfig)]


RELATIONS = (
    micro_vms_are_in_a_region_that_has_them,
    image_of_micro_vms_is_known_at_synth,
    image_of_micro_vms_is_in_their_account,
)
