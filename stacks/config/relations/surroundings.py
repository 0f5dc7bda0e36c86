"""Relations of the stage's key and its budget."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from stacks.config.sections.section import region_of

if TYPE_CHECKING:
    from stacks.config.stage import StageConfig


def existing_key_is_the_customers(stage: StageConfig) -> Iterator[str]:
    """A key that is named but not used would look like encryption that is not there."""
    if stage.encryption.key_arn and stage.encryption.key == "aws":
        yield (
            'encryption.key_arn is set and encryption.key is "aws", allowed is "customer": change '
            "the key, or remove the ARN"
        )


def existing_key_is_in_the_region(stage: StageConfig) -> Iterator[str]:
    """A KMS key works in its own Region only."""
    arn = stage.encryption.key_arn
    if arn and stage.region and region_of(arn) != stage.region:
        yield (
            f"encryption.key_arn is in {region_of(arn)}, allowed is the stage's region, "
            f"{stage.region}: use a key of that Region"
        )


def budget_has_a_reader(stage: StageConfig) -> Iterator[str]:
    """A budget warns by mail."""
    observability = stage.observability
    if observability.budget_usd_month is not None and observability.alarm_email is None:
        yield (
            f"observability.budget_usd_month is {observability.budget_usd_month} and "
            "observability.alarm_email is null, allowed is an address: add it, or remove the budget"
        )


RELATIONS = (
    existing_key_is_the_customers,
    existing_key_is_in_the_region,
    budget_has_a_reader,
)
