"""Airflow's metadata database."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from stacks.config.sections.section import Section, rule


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
    storage_gb: int = Field(20, ge=20, le=65536, description="Storage (gp3).")
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
