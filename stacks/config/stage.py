"""Everything a person may say about one stage.

It must not know the CDK: the stacks unpack it into typed arguments, constructs never see it. Where
the values come from is `stacks/config/loading.py`.
"""

from __future__ import annotations

from typing import Literal, Self

from pydantic import Field, model_validator

from stacks.config.relations import BrokenRelationsError, broken
from stacks.config.sections.control_plane import ControlPlaneConfig
from stacks.config.sections.dags import DagsConfig, LogsConfig
from stacks.config.sections.database import DatabaseConfig
from stacks.config.sections.encryption import EncryptionConfig
from stacks.config.sections.execution import ExecutionConfig
from stacks.config.sections.functions import DEFAULT_FUNCTION, FunctionConfig
from stacks.config.sections.image import ImageConfig
from stacks.config.sections.network import NetworkConfig
from stacks.config.sections.observability import ObservabilityConfig
from stacks.config.sections.section import Section


class StageConfig(Section):
    """Everything a person may say about one stage."""

    account: str | None = Field(
        None,
        pattern=r"^[0-9]{12}$",
        description="The only AWS account that the stage may be deployed to; null: the account "
        "of the credentials in use.",
        examples=["123456789012"],
    )
    region: str | None = Field(
        None,
        pattern=r"^[a-z]{2}(-[a-z]+)+-[0-9]$",
        description="The only Region that the stage may be deployed to; null: the Region of the "
        "credentials in use, and what it lacks is found at deploy.",
        examples=["eu-west-1"],
    )
    removal: Literal["destroy", "retain"] = Field(
        description="What happens to everything that holds data (database, secret, repository, "
        'queues, buckets, key, log groups) when its stack is deleted. "retain" protects the '
        "stacks too (see docs/howto/first-deploy-failed.md)."
    )
    encryption: EncryptionConfig = Field(default_factory=EncryptionConfig)
    network: NetworkConfig = Field(default_factory=NetworkConfig)
    database: DatabaseConfig = Field(default_factory=DatabaseConfig)
    image: ImageConfig = Field(default_factory=ImageConfig)
    functions: list[FunctionConfig] = Field(
        default_factory=lambda: [FunctionConfig(name=DEFAULT_FUNCTION)],
        description="The Lambda functions, one of them the default one.",
        json_schema_extra={"default": [{"name": DEFAULT_FUNCTION}]},
    )
    dags: DagsConfig = Field(default_factory=DagsConfig)
    logs: LogsConfig = Field(default_factory=LogsConfig)
    control_plane: ControlPlaneConfig = Field(default_factory=ControlPlaneConfig)
    execution: ExecutionConfig = Field(default_factory=ExecutionConfig)
    observability: ObservabilityConfig = Field(default_factory=ObservabilityConfig)

    @model_validator(mode="after")
    def relations_hold(self) -> Self:
        """Every relation at once, so that a person corrects all of them after one synth."""
        if found := broken(self):
            raise BrokenRelationsError(found)
        return self

    @property
    def needs_vpc(self) -> bool:
        """Whether anything of the stage is inside a VPC."""
        return self.database.enabled or self.has_compute_in_vpc

    @property
    def has_compute_in_vpc(self) -> bool:
        """Whether anything that calls AWS runs inside the VPC."""
        return (
            self.network.function_in_vpc
            or self.control_plane.kind == "fargate"
            or (self.database.enabled and self.database.rotation_days is not None)
        )

    @property
    def default_function(self) -> FunctionConfig:
        """The function of every queue that no other serves."""
        return next(f for f in self.functions if f.name == DEFAULT_FUNCTION)
