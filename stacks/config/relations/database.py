"""Relations of the database."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from stacks.config.stage import StageConfig


def protected_database_is_retained(stage: StageConfig) -> Iterator[str]:
    """`cdk destroy` would stop halfway at a database that AWS refuses to delete."""
    if stage.database.deletion_protection and stage.removal == "destroy":
        yield (
            'database.deletion_protection (true) must be false with removal "destroy": change one '
            "of the two"
        )


def retained_database_has_backups(stage: StageConfig) -> Iterator[str]:
    """Data worth keeping is worth a backup."""
    if stage.database.enabled and stage.removal == "retain" and stage.database.backup_days == 0:
        yield 'database.backup_days (0) must be 1 to 35 with removal "retain": raise backup_days'


def proxy_has_a_database_and_clients(stage: StageConfig) -> Iterator[str]:
    """A proxy is for workloads that open their own connections, and is charged by the hour."""
    needs = {
        "database.enabled": stage.database.enabled,
        "network.function_in_vpc": stage.network.function_in_vpc,
    }
    for name, value in needs.items():
        if stage.database.proxy and not value:
            yield f"{name} (false) must be true with database.proxy: change one of the two"


def rotation_has_a_database(stage: StageConfig) -> Iterator[str]:
    """Only the password of the stage's own database can be rotated."""
    days = stage.database.rotation_days
    if days is not None and not stage.database.enabled:
        yield (
            f"database.rotation_days ({days}) must be null if database.enabled is false: change "
            "one of the two"
        )
