"""From a stage's configuration to its functions, and the queues of Airflow that lead to them.

It must not know what the functions talk to beyond the values that it puts into their environment.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass

import aws_cdk as cdk
from aws_cdk import aws_ec2 as ec2
from aws_cdk import aws_lambda as lambda_

from lambda_executor import options
from stacks.config import DEFAULT_FUNCTION, Architecture, FunctionConfig, StageConfig
from stacks.constructs.results_queue import ResultsQueue
from stacks.constructs.workload_function import WorkloadFunction, WorkloadFunctionProps
from stacks.image import StageImage
from stacks.retention import RETENTION
from stacks.stage import StageStack

ARCHITECTURES: Mapping[Architecture, lambda_.Architecture] = {
    "x86_64": lambda_.Architecture.X86_64,
    "arm64": lambda_.Architecture.ARM_64,
}


@dataclass(frozen=True, slots=True)
class Placement:
    """The VPC that the functions run in.

    Attributes:
        vpc: The VPC.
        subnets: With a way out.
        security_groups: The functions'.
    """

    vpc: ec2.IVpc
    subnets: ec2.SubnetSelection
    security_groups: tuple[ec2.ISecurityGroup, ...]


@dataclass(frozen=True, slots=True)
class Served:
    """A function and what leads to it.

    Attributes:
        settings: What the stage says of it.
        workload: The function.
    """

    settings: FunctionConfig
    workload: WorkloadFunction

    @property
    def target(self) -> str:
        """The function and its alias, as the executor's options name them."""
        return f"{self.workload.function.function_name}:{self.workload.alias.alias_name}"


def functions_of(  # noqa: PLR0913 - the config and what other rooms made
    stack: StageStack,
    config: StageConfig,
    *,
    image: StageImage,
    queue: ResultsQueue,
    environment: Mapping[str, str],
    placement: Placement | None,
) -> list[Served]:
    """The functions of a stage, the default one first."""
    ordered = sorted(config.functions, key=lambda settings: settings.name != DEFAULT_FUNCTION)
    return [
        Served(
            settings,
            WorkloadFunction(
                stack,
                _construct_id(settings),
                WorkloadFunctionProps(
                    name=stack.function_name(settings),
                    code=image.code(stack, settings.architecture),
                    architecture=ARCHITECTURES[settings.architecture],
                    memory_mb=settings.memory_mb,
                    timeout=cdk.Duration.seconds(settings.timeout_s),
                    ephemeral_storage=cdk.Size.mebibytes(settings.ephemeral_storage_mb),
                    reserved_concurrency=settings.reserved_concurrency,
                    provisioned_concurrency=settings.provisioned_concurrency,
                    tenant_isolation=settings.tenant_isolation,
                    event_age=cdk.Duration.seconds(config.execution.event_age_s),
                    dead_letter_queue=queue.dead_letters,
                    failures=queue.failures,
                    environment={**environment, **dict(_margins(settings))},
                    log_retention=RETENTION[config.logs.retention_days],
                    removal_policy=stack.removal,
                    encryption_key=stack.key,
                    vpc=placement.vpc if placement else None,
                    subnets=placement.subnets if placement else None,
                    security_groups=placement.security_groups if placement else (),
                ),
            ),
        )
        for settings in ordered
    ]


def by_queue(functions: Iterable[Served]) -> Mapping[str, str]:
    """Function and alias by the Airflow queue; empty: the default one runs all."""
    return {queue: served.target for served in functions for queue in served.settings.queues}


def _construct_id(settings: FunctionConfig) -> str:
    if settings.name == DEFAULT_FUNCTION:
        return "Workload"
    return f"Workload{settings.name.title().replace('-', '')}"


def _margins(settings: FunctionConfig) -> Iterator[tuple[str, str]]:
    """Unset, the handler has defaults that fit the time-out."""
    margins = {
        options.STOP_MARGIN_S: settings.stop_margin_s,
        options.KILL_MARGIN_S: settings.kill_margin_s,
    }
    for option, margin in margins.items():
        if margin is not None:
            yield option.environment_variable, str(margin)
