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
            'database.deletion_protection is true and removal is "destroy", allowed is "retain": '
            "change one of the two"
        )


def retained_database_has_backups(stage: StageConfig) -> Iterator[str]:
    """Data worth keeping is worth a backup."""
    if stage.database.enabled and stage.removal == "retain" and stage.database.backup_days == 0:
        yield (
            'database.backup_days is 0 and removal is "retain", allowed is 1 to 35: '
            "raise backup_days"
        )


def proxy_has_a_database_and_clients(stage: StageConfig) -> Iterator[str]:
    """A proxy is for workloads that open their own connections, and is charged by the hour."""
    if not stage.database.proxy:
        return
    if not stage.database.enabled:
        yield (
            "database.proxy is true and database.enabled is false, allowed is a proxy of the "
            "stage's own database: change one of the two"
        )
    if not stage.network.function_in_vpc:
        yield (
            "database.proxy is true and network.function_in_vpc is false, allowed is a proxy that "
            "the functions reach: change one of the two"
        )


def rotation_has_a_database(stage: StageConfig) -> Iterator[str]:
    """Only the password of the stage's own database can be rotated."""
    if stage.database.rotation_days is not None and not stage.database.enabled:
        yield (
            f"database.rotation_days is {stage.database.rotation_days} and database.enabled is "
            "false, allowed is null: change one of the two"
        )


def snapshot_is_restored_into_a_database(stage: StageConfig) -> Iterator[str]:
    """A snapshot needs a database that begins with it."""
    if stage.database.snapshot_identifier and not stage.database.enabled:
        yield (
            f'database.snapshot_identifier is "{stage.database.snapshot_identifier}" and '
            "database.enabled is false, allowed is null: change one of the two"
        )


def storage_grows_by_a_tenth_or_not_at_all(stage: StageConfig) -> Iterator[str]:
    """RDS refuses a limit that is nearer.

    https://docs.aws.amazon.com/AmazonRDS/latest/UserGuide/USER_PIOPS.Autoscaling.html
    """
    database = stage.database
    if database.max_storage_gb in {None, database.storage_gb}:
        return
    if database.grows_to_gb is None:
        yield (
            f"database.max_storage_gb is {database.max_storage_gb} and database.storage_gb is "
            f"{database.storage_gb}, allowed is {database.storage_gb} (the storage never grows) or "
            f"at least {database.least_growth_gb}: raise max_storage_gb"
        )


RELATIONS = (
    protected_database_is_retained,
    retained_database_has_backups,
    proxy_has_a_database_and_clients,
    rotation_has_a_database,
    snapshot_is_restored_into_a_database,
    storage_grows_by_a_tenth_or_not_at_all,
)
