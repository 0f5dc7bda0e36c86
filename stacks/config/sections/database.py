"""Airflow's metadata database."""

from __future__ import annotations

import math
from typing import Literal

from pydantic import Field

from stacks.config.sections.section import ARN_HEAD, Section, rule

_MOST_GB = 65536

#: RDS's own snapshots begin with `rds:`.
_SNAPSHOT = "(rds:)?[a-zA-Z][a-zA-Z0-9-]{0,254}"


class DatabaseConfig(Section):
    """Airflow's metadata database."""

    enabled: bool = Field(
        True,
        description="Whether the stage has a database; an existing Airflow brings its own.",
    )
    instance_class: str = Field(
        "db.t4g.micro",
        pattern=r"^db\.[a-z0-9-]+\.[a-z0-9]+$",
        description="RDS instance class.",
        examples=["db.t4g.micro"],
        json_schema_extra=rule("an instance class of RDS"),
    )
    storage_gb: int = Field(20, ge=20, le=_MOST_GB, description="Storage (gp3) in the beginning.")
    max_storage_gb: int | None = Field(
        None,
        ge=20,
        le=_MOST_GB,
        description="RDS enlarges the storage up to this, in steps of 10 GB or more, when less "
        "than a tenth of it is free; null: five times `storage_gb`; the same as `storage_gb`: "
        "never. Storage never becomes smaller.",
    )
    postgres_version: Literal["16", "17", "18"] = Field(
        "17",
        description="Major version of Postgres; RDS chooses the minor one and keeps it current.",
    )
    multi_az: bool = Field(
        False, description="Whether a standby in another Availability Zone takes over on failure."
    )
    backup_days: int = Field(
        1, ge=0, le=35, description="Days that automated backups are kept; 0: none are made."
    )
    deletion_protection: bool = Field(
        False, description="Whether AWS refuses to delete the database until this is off."
    )
    name: str = Field(
        "airflow",
        pattern=r"^[a-z][a-z0-9_]{0,62}$",
        description="Name of the database on the instance.",
        examples=["airflow"],
        json_schema_extra=rule(
            "1 to 63 lower-case letters, digits and underscores, a letter first"
        ),
    )
    snapshot_identifier: str | None = Field(
        None,
        pattern=f"^({_SNAPSHOT}|{ARN_HEAD.format(service='rds')}snapshot:{_SNAPSHOT})$",
        description="A snapshot of such a database (user `airflow`, and `name` in it) that the "
        "database begins with; null: it begins empty. In an existing stage, setting, changing or "
        "removing it **replaces the database**; the old one leaves a snapshot, or stays with "
        '`removal: "retain"`. So keep it as long as the database '
        "(docs/howto/upgrade-and-rollback.md). Size, key and version are the snapshot's: "
        "`storage_gb` may not be less, and `encryption.key` does not encrypt it.",
        examples=["before-airflow-3-4"],
        json_schema_extra=rule("the name or the ARN of a snapshot of a database instance"),
    )
    proxy: bool = Field(
        False,
        description="Whether there is an RDS Proxy, which is charged by the hour. Airflow 3 does "
        "not use it: workloads use the Execution API, and the services have their own pools. It is "
        "for code in the functions that connects to this database.",
    )
    rotation_days: int | None = Field(
        None,
        ge=1,
        le=1000,
        description="Days after which Secrets Manager changes the password; null: never. Airflow "
        "must be restarted to use the new one.",
    )

    @property
    def grows_to_gb(self) -> int | None:
        """How far RDS may enlarge the storage; None: not at all."""
        most = self.max_storage_gb or min(5 * self.storage_gb, _MOST_GB)
        return most if most >= self.least_growth_gb else None

    @property
    def least_growth_gb(self) -> int:
        """The least limit of a growing storage that RDS accepts.

        https://docs.aws.amazon.com/AmazonRDS/latest/UserGuide/USER_PIOPS.Autoscaling.html
        """
        return math.ceil(self.storage_gb * 11 / 10)
