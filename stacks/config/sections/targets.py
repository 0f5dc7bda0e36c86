"""Targets beyond the functions: jobs of AWS Batch, tasks of Amazon ECS, and MicroVMs."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Literal

from pydantic import Field

from lambda_executor.contract.lambda_limits import LONGEST_LIFE_S
from stacks.config.sections.functions import LEAST_MEMORY_MB, Architecture, QueueName, TargetName
from stacks.config.sections.section import Section, rule
from stacks.config.sections.workloads import Environment, Policies, Secrets, Statements

#: Fargate's sizes of memory in MiB for each number of virtual processors.
#: https://docs.aws.amazon.com/AmazonECS/latest/developerguide/task-cpu-memory-error.html
FARGATE_MEMORY_MB: Mapping[float, range | tuple[int, ...]] = {
    0.25: (512, 1024, 2048),
    0.5: range(1024, 4096 + 1, 1024),
    1: range(2048, 8192 + 1, 1024),
    2: range(4096, 16384 + 1, 1024),
    4: range(8192, 30720 + 1, 1024),
    8: range(16384, 61440 + 1, 4096),
    16: range(32768, 122880 + 1, 8192),
}


InstanceType = Annotated[
    str,
    Field(
        pattern=r"^[a-z][a-z0-9-]*(\.[a-z0-9-]+)?$",
        examples=["g5.xlarge"],
        json_schema_extra=rule("a type or a family of EC2 instances"),
    ),
]


class TargetConfig(Section):
    """What every target has.

    An Airflow queue chooses it, as it chooses a function.
    """

    name: TargetName = Field(description="Its name in this stage.", examples=["long"])
    queues: list[QueueName] = Field(description="Airflow queues whose tasks it runs.")
    memory_mb: int = Field(
        4096,
        ge=LEAST_MEMORY_MB,
        description="Memory of a task, of which Airflow uses about 300 MB.",
    )
    environment: Environment = Field({})
    secrets: Secrets = Field({})
    policies: Policies = Field([])
    statements: Statements = Field([])


class ContainerTargetConfig(TargetConfig):
    """What a job of Batch and a task of ECS have in common: a container in the stage's VPC.

    Sizes on Fargate:
    https://docs.aws.amazon.com/AmazonECS/latest/developerguide/task-cpu-memory-error.html
    """

    cpu: float = Field(1, ge=0.25, le=192, description="Virtual processors of a task.")
    disk_gb: int = Field(
        20,
        ge=20,
        description="Disk of a task, in GiB; more than 20 costs extra on Fargate. On EC2 the tasks "
        "of an instance share it.",
    )
    architecture: Architecture | None = Field(
        None,
        description="Processor architecture of the container and of its image; null: that of the "
        "default function, so that one image is built for both.",
    )

    @property
    def is_on_ec2(self) -> bool:
        """Whether its tasks run on instances of the account, not on Fargate."""
        return False


class BatchTargetConfig(ContainerTargetConfig):
    """A job queue of AWS Batch with its compute environment and job definition."""

    kind: Literal["batch"] = Field(description="A job queue of AWS Batch.")
    capacity: Literal["fargate", "fargate_spot", "ec2", "ec2_spot"] = Field(
        "fargate",
        description="Where its jobs run. Spot costs less, and AWS may take it back in the middle "
        "of a task, which then needs a retry. EC2 is for GPUs, and for more than Fargate has.",
    )
    gpu: int = Field(0, ge=0, le=16, description="GPUs of a task; only with EC2, and on x86_64.")
    instance_types: list[InstanceType] = Field(
        [],
        description="Types or families of the EC2 instances; a job that fits none of them waits. "
        "[]: what AWS Batch chooses from its default families, or the family g4dn if a task has "
        "GPUs.",
    )
    timeout_s: int | None = Field(
        None, ge=60, description="The longest try; null: no limit (on Fargate 14 days)."
    )
    priority: int = Field(
        1,
        ge=0,
        le=1000,
        description="Of several targets on Fargate that share their capacity, the one with the "
        "highest number comes first.",
    )
    most_cpu: int = Field(
        64,
        ge=1,
        description="How many virtual processors its jobs may use at the same time; further jobs "
        "wait. On EC2, AWS Batch may exceed it by one instance. Targets on Fargate with the same "
        "capacity and architecture share the largest of their numbers, so that their priorities "
        "count.",
    )

    @property
    def is_on_ec2(self) -> bool:
        """Whether its jobs run on instances of the account, not on Fargate."""
        return self.capacity in {"ec2", "ec2_spot"}


class EcsTargetConfig(ContainerTargetConfig):
    """A task definition of Amazon ECS, on Fargate, in the stage's own cluster."""

    kind: Literal["ecs"] = Field(description="A task definition of Amazon ECS.")
    capacity: Literal["fargate", "fargate_spot"] = Field(
        "fargate",
        description="Where its tasks run. Spot costs less, and AWS may take it back in the middle "
        "of a task, which then needs a retry.",
    )


class MicroVmTargetConfig(TargetConfig):
    """A MicroVM of AWS Lambda: its own virtual machine for each task, from a snapshot.

    Sizes: https://docs.aws.amazon.com/lambda/latest/dg/gettingstarted-limits.html
    """

    kind: Literal["microvm"] = Field(description="A MicroVM of AWS Lambda.")
    memory_mb: Literal[512, 1024, 2048, 4096, 8192] = Field(
        2048,
        description="Memory of a task. Each 2048 MB come with one virtual processor, and bursts "
        "of up to four times as many.",
    )
    timeout_s: int = Field(LONGEST_LIFE_S, ge=60, le=LONGEST_LIFE_S, description="The longest try.")
    base_version: str = Field(
        "1",
        pattern=r"^(0|[1-9][0-9]{0,5})$",
        description="Version of AWS's base image `al2023-1` for MicroVMs. 90 days after AWS has "
        "published a newer one, nothing runs on it any more: raise it before, and deploy "
        "(docs/howto/which-target.md#the-base-of-a-microvm).",
        examples=["2"],
        json_schema_extra=rule("a number without a dot"),
    )


Target = Annotated[
    BatchTargetConfig | EcsTargetConfig | MicroVmTargetConfig, Field(discriminator="kind")
]
