"""Relations of the stage's key and its budget."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from stacks.config.stage import StageConfig


def existing_key_is_used(stage: StageConfig) -> Iterator[str]:
    """A named but unused key would look like encryption with it."""
    if stage.encryption.key_arn and stage.encryption.key == "aws":
        yield (
            'encryption.key (aws) must be "customer" if encryption.key_arn is set: change the key, '
            "or remove the ARN"
        )


def budget_has_a_reader(stage: StageConfig) -> Iterator[str]:
    """A budget warns by mail."""
    settings = stage.observability
    if settings.budget_usd_month is not None and settings.alarm_email is None:
        yield (
            "observability.alarm_email (null) must be an address with budget_usd_month "
            f"({settings.budget_usd_month}): add it, or remove the budget"
        )
