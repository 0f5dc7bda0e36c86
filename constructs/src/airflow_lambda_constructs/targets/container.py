"""What a job of AWS Batch and a task of Amazon ECS have in common: a container."""

from __future__ import annotations

from dataclasses import dataclass

import aws_cdk as cdk
from aws_cdk import aws_ecs as ecs
from aws_cdk import aws_iam as iam
from aws_cdk import aws_logs as logs
from constructs import Construct

from airflow_lambda_constructs.acknowledge import acknowledge_registry_login
from airflow_lambda_constructs.execution.target import (
    Offer,
    TargetNetwork,
    TargetSettings,
    TargetSurroundings,
)

#: The disk of a container on Fargate if its definition names no size, in GiB.
#: https://docs.aws.amazon.com/AmazonECS/latest/developerguide/fargate-task-storage.html
FARGATE_DISK_GB = 20

#: Name of the container that runs the workload.
CONTAINER = "workload"

#: Name of the volume with the shared files.
SHARED_FILES = "shared-files"

#: The service that pulls images, writes logs and assumes the workloads' role for containers.
ECS_TASKS = "ecs-tasks.amazonaws.com"


@dataclass(frozen=True, slots=True, kw_only=True)
class ContainerTargetProps(TargetSettings):
    """The settings of a target that runs containers.

    Attributes:
        image: The functions' image, whose entry point also understands `job`.
        memory_mb: Memory of a task, in MiB.
        cpu: Virtual processors of a task.
        disk_gb: Disk of a task, in GiB.
    """

    image: ecs.ContainerImage
    architecture: ecs.CpuArchitecture
    memory_mb: int
    cpu: float
    disk_gb: int = FARGATE_DISK_GB

    def offer(self, *, gpu: int = 0, timeout_s: int | None = None) -> Offer:
        """Return what one task gets."""
        return Offer(
            timeout_s=timeout_s,
            memory_mb=self.memory_mb,
            cpu=self.cpu,
            gpu=gpu,
            disk_gb=self.disk_gb,
        )


def network_of(name: str, around: TargetSurroundings) -> TargetNetwork:
    """Return the network, which every target of containers needs.

    Raises:
        ValueError: The environment has none.
    """
    if around.network is None:
        raise ValueError(
            f"the target {name} runs containers, and the environment has no target_network: "
            "give it the VPC and subnets with a way to ECR, S3, SQS, CloudWatch Logs and Airflow"
        )
    return around.network


def execution_role(scope: Construct, log_group: logs.ILogGroup) -> iam.Role:
    """Make the role with which ECS pulls the image and writes the log; its owner adds the image."""
    role = iam.Role(scope, "ExecutionRole", assumed_by=iam.ServicePrincipal(ECS_TASKS))
    log_group.grant_write(role)
    acknowledge_registry_login(role)
    return role


def larger_disk(props: ContainerTargetProps) -> cdk.Size | None:
    """Return the disk on Fargate; None: its smallest one, which Fargate does not take as a size."""
    return cdk.Size.gibibytes(props.disk_gb) if props.disk_gb > FARGATE_DISK_GB else None
