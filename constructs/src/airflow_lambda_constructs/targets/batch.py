"""A target of AWS Batch: a job queue, its compute environment and a job definition."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import aws_cdk as cdk
from aws_cdk import aws_batch as batch
from aws_cdk import aws_ecs as ecs
from aws_cdk import aws_iam as iam
from constructs import Construct

from airflow_lambda_constructs.execution.permissions import read_log
from airflow_lambda_constructs.execution.shared_files import SharedFiles
from airflow_lambda_constructs.execution.target import TargetNetwork, TargetSurroundings, allow
from airflow_lambda_constructs.targets.batch_capacity import (
    Capacity,
    ComputeEnvironment,
    shared_environment,
)
from airflow_lambda_constructs.targets.container import (
    ECS_TASKS,
    SHARED_FILES,
    ContainerTargetProps,
    execution_role,
    larger_disk,
    network_of,
)

#: They know no resource. The doctor checks job queue, compute environment and job definition.
_OF_THE_ACCOUNT = [
    "batch:DescribeComputeEnvironments",
    "batch:DescribeJobDefinitions",
    "batch:DescribeJobQueues",
    "batch:DescribeJobs",
    "batch:ListJobs",
]
_LISTS = "The lists and descriptions of AWS Batch have no resource-level permission."
_REVISIONS = "Each deploy may make a new revision of the job definition."
_JOBS = (
    "AWS chooses the ids of jobs. A condition on their tags would bind nobody, because who may tag "
    "a job when submitting it may tag every job: batch:TagResource knows no other condition."
)


@dataclass(frozen=True, slots=True, kw_only=True)
class BatchTargetProps(ContainerTargetProps):
    """The settings of a `BatchTarget`.

    Attributes:
        capacity: Where its jobs run; on Fargate, targets with the same capacity share it.
        gpu: GPUs of a task; only on EC2.
        timeout_s: The longest try; None: no limit.
        priority: Of several job queues that share their capacity, the highest comes first.
        most_cpu: How many virtual processors may be in use at the same time. Of targets that share
            their capacity, the largest number is that of all together.
    """

    capacity: Capacity
    gpu: int = 0
    timeout_s: int | None = None
    priority: int = 1
    most_cpu: int = 64

    def make(self, scope: Construct, id: str, around: TargetSurroundings) -> BatchTarget:
        """Make it, with a compute environment if it shares none."""
        return BatchTarget(scope, id, self, around)


class BatchTarget(Construct):
    """Jobs of AWS Batch.

    The names of job queue and job definition are the same in every deploy, and a job definition's
    name without a revision means its newest one. So a scheduler goes on during a deploy.
    """

    service = "batch"

    def __init__(
        self, scope: Construct, id: str, props: BatchTargetProps, around: TargetSurroundings
    ) -> None:
        super().__init__(scope, id)
        self._props = props
        self._name = f"{around.name}-{props.name}"
        self.queues = props.queues
        self.offer = props.offer(gpu=props.gpu, timeout_s=props.timeout_s)
        network = network_of(props.name, around)
        self.log_group = around.log_group(self, self.service, props.name)
        self.role = props.role(self, around, iam.ServicePrincipal(ECS_TASKS))
        if around.shared_files:
            around.shared_files.grant_use(self.role)
        batch.EcsJobDefinition(
            self,
            "Definition",
            job_definition_name=self._name,
            container=self._container(around, network),
            retry_attempts=1,
            # The tags of the definition are those of the stack, so a budget sees what jobs cost.
            propagate_tags=True,
        )
        sharing = self if props.capacity.is_ec2 else scope
        self._job_queue(shared_environment(sharing, props.capacity, network, props.most_cpu))

    @property
    def request(self) -> Mapping[str, object]:
        """The parameters of `SubmitJob`.

        The time-out is here and not in the job definition, because the executor knows only what
        it sends: it tells the job, which stops the task in time.
        """
        limit = self._props.timeout_s
        timeout = {} if limit is None else {"timeout": {"attemptDurationSeconds": limit}}
        return {"jobQueue": self._name, "jobDefinition": self._name, **timeout}

    def grant_dispatch(self, policy: iam.ManagedPolicy) -> None:
        """Let a scheduler submit jobs, find and end them, read their log, and check all of it.

        https://docs.aws.amazon.com/service-authorization/latest/reference/list_awsbatch.html
        """
        definition = self._arn("job-definition", self._name)
        submitted_to = [self._arn("job-queue", self._name), definition, f"{definition}:*"]
        allow(policy, ["batch:SubmitJob"], submitted_to, why=_REVISIONS)
        allow(policy, ["batch:TerminateJob"], [self._arn("job", "*")], why=_JOBS)
        allow(policy, _OF_THE_ACCOUNT, ["*"], why=_LISTS)
        read_log(self.log_group, policy)

    def _container(
        self, around: TargetSurroundings, network: TargetNetwork
    ) -> batch.IEcsContainerDefinition:
        props = self._props
        given: dict[str, Any] = {  # What both kinds of containers take.
            "image": props.image,
            "cpu": props.cpu,
            "memory": cdk.Size.mebibytes(props.memory_mb),
            "environment": props.variables(self, around),
            "job_role": self.role,
            "execution_role": execution_role(self, self.log_group),
            "logging": ecs.LogDrivers.aws_logs(stream_prefix="job", log_group=self.log_group),
            "volumes": [_volume(around.shared_files)] if around.shared_files else [],
        }
        if props.capacity.is_ec2:
            return batch.EcsEc2ContainerDefinition(
                self, "Container", gpu=props.gpu or None, **given
            )
        return batch.EcsFargateContainerDefinition(
            self,
            "Container",
            assign_public_ip=network.public_addresses,
            ephemeral_storage_size=larger_disk(props),
            fargate_cpu_architecture=props.architecture,
            fargate_operating_system_family=ecs.OperatingSystemFamily.LINUX,
            **given,
        )

    def _job_queue(self, environment: ComputeEnvironment) -> None:
        batch.CfnJobQueue(
            self,
            "Queue",
            job_queue_name=self._name,
            priority=self._props.priority,
            compute_environment_order=[
                batch.CfnJobQueue.ComputeEnvironmentOrderProperty(
                    compute_environment=environment.arn, order=1
                )
            ],
        )

    def _arn(self, resource: str, name: str) -> str:
        return cdk.Stack.of(self).format_arn(service="batch", resource=resource, resource_name=name)


def _volume(files: SharedFiles) -> batch.EfsVolume:
    """Return the volume of the shared files, mounted with the role of the job."""
    return batch.EcsVolume.efs(
        name=SHARED_FILES,
        container_path=files.mount,
        file_system=files.file_system,
        access_point_id=files.access_point_id,
        enable_transit_encryption=True,
        use_job_role=True,
    )
