"""The targets of a stage beside its functions, from its configuration."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TypedDict

import aws_cdk as cdk
from aws_cdk import aws_ecs as ecs
from aws_cdk import aws_iam as iam

from airflow_lambda_constructs.execution.permissions import WorkloadSecret
from airflow_lambda_constructs.execution.target import TargetNetwork, TargetProps
from airflow_lambda_constructs.targets.batch import BatchTargetProps
from airflow_lambda_constructs.targets.batch_capacity import Capacity
from airflow_lambda_constructs.targets.ecs import EcsTargetProps
from airflow_lambda_constructs.targets.micro_vm_target import MicroVmTargetProps
from stacks.config import Architecture
from stacks.config.sections.targets import (
    BatchTargetConfig,
    EcsTargetConfig,
    MicroVmTargetConfig,
    Target,
    TargetConfig,
)
from stacks.stage.image import StageImage
from stacks.stage.permissions import managed_policies, policy_statements, workload_secrets
from stacks.stage.stage_stack import StageStack


class Given(TypedDict):
    """What the props of every target have, as `TargetSettings` takes it."""

    name: str
    queues: tuple[str, ...]
    environment: Mapping[str, str]
    secrets: Mapping[str, WorkloadSecret]
    policies: tuple[iam.IManagedPolicy, ...]
    statements: tuple[iam.PolicyStatement, ...]


class GivenContainer(Given):
    """What the props of a job of Batch and of a task of ECS have, as `ContainerTargetProps`."""

    image: ecs.ContainerImage
    architecture: ecs.CpuArchitecture
    memory_mb: int
    cpu: float
    disk_gb: int


def target_props(
    stack: StageStack, image: StageImage, *, micro_vms: TargetNetwork | None
) -> tuple[TargetProps, ...]:
    """Return the targets of a stage, in the order of its configuration.

    Args:
        stack: The one that they are made in.
        image: That of the functions.
        micro_vms: Where in the VPC the MicroVMs are; None: outside.
    """
    return tuple(_props(stack, image, settings, micro_vms) for settings in stack.config.targets)


def _props(
    stack: StageStack, image: StageImage, settings: Target, micro_vms: TargetNetwork | None
) -> TargetProps:
    match settings:
        case BatchTargetConfig():
            return _batch(stack, image, settings)
        case EcsTargetConfig():
            return _ecs(stack, image, settings)
        case MicroVmTargetConfig():
            return _micro_vm(stack, image, settings, micro_vms)


def _given(stack: StageStack, settings: TargetConfig) -> Given:
    workloads = stack.config.workloads_of(settings)
    id = f"Of-target-{settings.name}"
    return {
        "name": settings.name,
        "queues": tuple(settings.queues),
        "environment": workloads.environment,
        "secrets": workload_secrets(stack, id, workloads.secrets),
        "policies": managed_policies(stack, id, workloads.policies),
        "statements": policy_statements(workloads.statements),
    }


def _given_container(
    stack: StageStack, image: StageImage, settings: BatchTargetConfig | EcsTargetConfig
) -> GivenContainer:
    container = image.container(stack, stack.config.architecture_of(settings))
    return {
        **_given(stack, settings),
        "image": container.image,
        "architecture": container.architecture,
        "memory_mb": settings.memory_mb,
        "cpu": settings.cpu,
        "disk_gb": settings.disk_gb,
    }


def _batch(stack: StageStack, image: StageImage, settings: BatchTargetConfig) -> BatchTargetProps:
    architecture = stack.config.architecture_of(settings)
    return BatchTargetProps(
        **_given_container(stack, image, settings),
        capacity=Capacity(
            kind=settings.capacity,
            is_arm=architecture == "arm64",
            has_gpu=settings.gpu > 0,
            instance_types=_instance_types(settings, architecture),
            disk_gb=settings.disk_gb if settings.is_on_ec2 else 0,
        ),
        gpu=settings.gpu,
        timeout_s=settings.timeout_s,
        priority=settings.priority,
        most_cpu=settings.most_cpu,
    )


def _instance_types(settings: BatchTargetConfig, architecture: Architecture) -> tuple[str, ...]:
    """Return types or families of instances; on Fargate there are none.

    https://docs.aws.amazon.com/batch/latest/userguide/instance-type-compute-table.html
    """
    if not settings.is_on_ec2:
        return ()
    default = "g4dn" if settings.gpu else f"default_{architecture}"
    return tuple(settings.instance_types) or (default,)


def _ecs(stack: StageStack, image: StageImage, settings: EcsTargetConfig) -> EcsTargetProps:
    return EcsTargetProps(
        **_given_container(stack, image, settings), spot=settings.capacity == "fargate_spot"
    )


def _micro_vm(
    stack: StageStack,
    image: StageImage,
    settings: MicroVmTargetConfig,
    network: TargetNetwork | None,
) -> MicroVmTargetProps:
    built = image.micro_vm(stack)
    return MicroVmTargetProps(
        **_given(stack, settings),
        image_uri=built.uri,
        repository=built.repository,
        memory_mb=settings.memory_mb,
        timeout=cdk.Duration.seconds(settings.timeout_s),
        base_version=settings.base_version,
        network=network,
    )
