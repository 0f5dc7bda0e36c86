"""The functions of a stage, from its configuration."""

from __future__ import annotations

from collections.abc import Mapping

import aws_cdk as cdk
from aws_cdk import aws_lambda as lambda_

from airflow_lambda_constructs.execution.workload_function import FunctionProps
from lambda_executor.contract import options
from stacks.config import DEFAULT_FUNCTION, Architecture, FunctionConfig
from stacks.stage.image import StageImage
from stacks.stage.permissions import managed_policies, policy_statements, workload_secrets
from stacks.stage.stage_stack import StageStack

ARCHITECTURES: Mapping[Architecture, lambda_.Architecture] = {
    "x86_64": lambda_.Architecture.X86_64,
    "arm64": lambda_.Architecture.ARM_64,
}


def function_props(stack: StageStack, image: StageImage) -> tuple[FunctionProps, ...]:
    """Return the functions of a stage, the default one first."""
    config = stack.config
    ordered = sorted(config.functions, key=lambda settings: settings.name != DEFAULT_FUNCTION)
    return tuple(
        FunctionProps(
            name=settings.name,
            code=image.code(stack, settings.architecture),
            queues=tuple(settings.queues),
            architecture=ARCHITECTURES[settings.architecture],
            memory_mb=settings.memory_mb,
            timeout=cdk.Duration.seconds(settings.timeout_s),
            ephemeral_storage=cdk.Size.mebibytes(settings.ephemeral_storage_mb),
            reserved_concurrency=settings.reserved_concurrency,
            provisioned_concurrency=settings.provisioned_concurrency,
            snap_start=config.starts_from_snapshot(settings),
            tenant_isolation=settings.tenant_isolation,
            environment={**given.environment, **_margins(settings)},
            secrets=workload_secrets(stack, f"Of-{settings.name}", given.secrets),
            policies=managed_policies(stack, f"Of-{settings.name}", given.policies),
            statements=policy_statements(given.statements),
        )
        for settings in ordered
        for given in (config.workloads_of(settings),)
    )


def _margins(settings: FunctionConfig) -> Mapping[str, str]:
    """The variables for the margins that are set; the handler's defaults fit the time-out."""
    stop = (options.STOP_MARGIN_S.environment_variable, settings.stop_margin_s)
    kill = (options.KILL_MARGIN_S.environment_variable, settings.kill_margin_s)
    return {variable: str(margin) for variable, margin in (stop, kill) if margin is not None}
