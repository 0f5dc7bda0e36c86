"""The source of the DAGs, and the destination of the logs."""

from __future__ import annotations

from typing import Literal

from pydantic import Field, JsonValue

from stacks.config.sections.section import RetentionDays, Section, rule


class BundleConfig(Section):
    """A DAG bundle of Airflow 3: an entry of `[dag_processor] dag_bundle_config_list`."""

    name: str = Field(
        pattern=r"^[A-Za-z0-9_.-]{1,250}$",
        description="The bundle's name.",
        examples=["dags"],
        json_schema_extra=rule("1 to 250 letters, digits, dots, hyphens and underscores"),
    )
    classpath: str = Field(
        pattern=r"^[A-Za-z_]\w*(\.[A-Za-z_]\w*)+$",
        description="The bundle's class, which the image must hold.",
        examples=["airflow.providers.git.bundles.git.GitDagBundle"],
        json_schema_extra=rule("a Python class with its module"),
    )
    kwargs: dict[str, JsonValue] = Field(
        {},
        description="Arguments of the class. They must not contain secrets: name a connection.",
    )


class DagsConfig(Section):
    """The source of the DAGs."""

    source: Literal["baked", "s3", "bundle"] = Field(
        "baked",
        description='"baked": they are in the image; "s3": in a bucket of the stage, and a run '
        'keeps the version that it started with; "bundle": Airflow\'s own DAG bundles fetch them.',
    )
    s3_key: str = Field(
        "dags/",
        pattern=r"^[A-Za-z0-9_.-]+(/[A-Za-z0-9_.-]+)*/$",
        description="For s3: the folder of the bucket, with a slash at its end.",
        examples=["dags/"],
        json_schema_extra=rule("a relative path that ends in /"),
    )
    bundles: list[BundleConfig] = Field(
        [], description="For bundle: Airflow's `dag_bundle_config_list`."
    )


class LogsConfig(Section):
    """Task logs, and how long all logs are kept."""

    remote: Literal["none", "s3", "cloudwatch"] = Field(
        "none",
        description="Destination of the logs of finished tasks, from which the UI shows them: a "
        "bucket or a log group of the stage. none: only the function's own log has them.",
    )
    retention_days: RetentionDays = Field(
        14, description="Number of days that all logs of the stage are kept."
    )
