"""The configuration of one stage."""

from __future__ import annotations

from typing import Literal, Self

from pydantic import Field, model_validator

from stacks.config.relations import BrokenRelationsError, broken
from stacks.config.relations.snapshots import starts_from_snapshot
from stacks.config.sections.control_plane import ControlPlaneConfig
from stacks.config.sections.dags import DagsConfig, LogsConfig
from stacks.config.sections.database import DatabaseConfig
from stacks.config.sections.encryption import EncryptionConfig
from stacks.config.sections.execution import ExecutionConfig
from stacks.config.sections.functions import DEFAULT_FUNCTION, Architecture, FunctionConfig
from stacks.config.sections.image import ImageConfig
from stacks.config.sections.network import NetworkConfig
from stacks.config.sections.observability import ObservabilityConfig
from stacks.config.sections.section import Section, rule
from stacks.config.sections.shared_files import SharedFilesConfig
from stacks.config.sections.targets import (
    ContainerTargetConfig,
    MicroVmTargetConfig,
    Target,
    TargetConfig,
)
from stacks.config.sections.workloads import WorkloadsConfig


class StageConfig(Section):
    """All settings of one stage."""

    account: str | None = Field(
        None,
        pattern=r"^[0-9]{12}$",
        description="The only AWS account that the stage may be deployed to; null: the account "
        "of the credentials in use.",
        examples=["123456789012"],
        json_schema_extra=rule("12 digits"),
    )
    region: str | None = Field(
        None,
        pattern=r"^[a-z]{2}(-[a-z]+)+-[0-9]$",
        description="The only Region that the stage may be deployed to; null: the Region of the "
        "credentials in use, whose missing features are found at deploy.",
        examples=["eu-west-1"],
        json_schema_extra=rule("the name of a Region"),
    )
    removal: Literal["destroy", "retain"] = Field(
        description="What happens to resources with data (database, secret, repository, queues, "
        "buckets, shared files, key, log groups) when their stack is deleted. "
        '"retain" also protects the stacks from deletion (see docs/howto/first-deploy-failed.md).'
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
    targets: list[Target] = Field(
        [],
        description="Where tasks run that no function can run: longer, larger, or with a GPU.",
    )
    workloads: WorkloadsConfig = Field(default_factory=WorkloadsConfig)
    shared_files: SharedFilesConfig = Field(default_factory=SharedFilesConfig)
    dags: DagsConfig = Field(default_factory=DagsConfig)
    logs: LogsConfig = Field(default_factory=LogsConfig)
    control_plane: ControlPlaneConfig = Field(default_factory=ControlPlaneConfig)
    execution: ExecutionConfig = Field(default_factory=ExecutionConfig)
    observability: ObservabilityConfig = Field(default_factory=ObservabilityConfig)

    @model_validator(mode="after")
    def relations_hold(self) -> Self:
        """Check all relations at once, so that a person can correct all of them together."""
        if found := broken(self):
            raise BrokenRelationsError(found)
        return self

    @property
    def needs_vpc(self) -> bool:
        """Whether any resource of the stage is inside a VPC."""
        return (
            self.database.enabled
            or self.network.function_in_vpc
            or self.control_plane.kind == "fargate"
            or self.has_containers
        )

    @property
    def has_containers(self) -> bool:
        """Whether any target runs containers, which are always inside a VPC."""
        return any(isinstance(target, ContainerTargetConfig) for target in self.targets)

    @property
    def containers_have_public_addresses(self) -> bool:
        """Whether containers of targets reach AWS by addresses of their own.

        An address costs money only while a task runs; a NAT gateway or endpoints do all the time,
        and are used where they exist anyway.
        """
        return self.has_containers and not self.network.has_a_way_out

    @property
    def needs_private_subnets(self) -> bool:
        """Whether code without a public address calls AWS from inside the VPC."""
        return (
            self.network.function_in_vpc
            or (self.has_containers and not self.containers_have_public_addresses)
            or (self.control_plane.kind == "fargate" and not self.control_plane.public_addresses)
            or (self.database.enabled and self.database.rotation_days is not None)
        )

    @property
    def has_api_gateway(self) -> bool:
        """Whether functions reach the Execution API through an API Gateway."""
        control_plane = self.control_plane
        return control_plane.kind == "fargate" and control_plane.entrance == "api_gateway"

    @property
    def needs_public_subnets(self) -> bool:
        """Whether anything but NAT gateways has a public address in the VPC."""
        control_plane = self.control_plane
        on_the_internet = (
            control_plane.entrance == "load_balancer" and control_plane.on_the_internet
        )
        return self.containers_have_public_addresses or (
            control_plane.kind == "fargate" and (control_plane.public_addresses or on_the_internet)
        )

    @property
    def default_function(self) -> FunctionConfig:
        """The function of every queue that no other serves."""
        return next(f for f in self.functions if f.name == DEFAULT_FUNCTION)

    @property
    def architectures(self) -> set[Architecture]:
        """The processor architectures for which the stage needs its image."""
        return {
            *(function.architecture for function in self.functions),
            *(self.architecture_of(target) for target in self.targets),
        }

    def architecture_of(self, target: Target) -> Architecture:
        """The processor architecture of a target; MicroVMs have no other one."""
        if isinstance(target, MicroVmTargetConfig):
            return "arm64"
        return target.architecture or self.default_function.architecture

    def starts_from_snapshot(self, function: FunctionConfig) -> bool:
        """Whether the execution environments of a function start from a snapshot."""
        return starts_from_snapshot(self, function)

    def workloads_of(self, target: FunctionConfig | TargetConfig) -> WorkloadsConfig:
        """What the workloads of a function or target may do: what all may, and more.

        Its own variables win.
        """
        every = self.workloads
        return WorkloadsConfig(
            environment={**every.environment, **target.environment},
            secrets={**every.secrets, **target.secrets},
            policies=list(dict.fromkeys([*every.policies, *target.policies])),
            statements=[*every.statements, *target.statements],
        )

    @property
    def secrets_are_fetched_inside(self) -> bool:
        """Whether a function or another target fetches secrets from inside the VPC.

        Containers are always there, MicroVMs where the functions are.
        """
        in_vpc = self.network.function_in_vpc
        targets = [t for t in self.targets if in_vpc or isinstance(t, ContainerTargetConfig)]
        inside = [*(self.functions if in_vpc else []), *targets]
        return any(self.workloads_of(each).secrets for each in inside)
