"""Compute environments of AWS Batch: where the jobs of one or several job queues run."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal, cast

import aws_cdk as cdk
from aws_cdk import aws_batch as batch
from aws_cdk import aws_ec2 as ec2
from aws_cdk import aws_iam as iam
from constructs import Construct

from airflow_lambda_constructs.acknowledge import acknowledge
from airflow_lambda_constructs.execution.target import TargetNetwork

Kind = Literal["fargate", "fargate_spot", "ec2", "ec2_spot"]

#: How AWS Batch names the kinds, and how it chooses instances: by price, and for Spot also by how
#: probably they are interrupted.
#: https://docs.aws.amazon.com/batch/latest/userguide/allocation-strategies.html
_TYPES = {
    "fargate": ("FARGATE", None),
    "fargate_spot": ("FARGATE_SPOT", None),
    "ec2": ("EC2", "BEST_FIT_PROGRESSIVE"),
    "ec2_spot": ("SPOT", "SPOT_PRICE_CAPACITY_OPTIMIZED"),
}

#: What an instance's disk has beside the disk of its jobs: the system and the image, in GiB. It is
#: the size of the root volume of Amazon's own machine image.
_SYSTEM_DISK_GB = 30

#: How long jobs may go on when a deploy replaces the instances: five days, AWS Batch's longest. An
#: instance with a job that runs so long has the old machine image for as long.
#: https://docs.aws.amazon.com/batch/latest/APIReference/API_UpdatePolicy.html
_MINUTES_OF_RUNNING_JOBS = 7200

#: Tells containers of Spot instances that they are interrupted: two minutes before, by SIGTERM.
#: https://docs.aws.amazon.com/AmazonECS/latest/developerguide/spot-instance-draining-linux-container.html
_DRAINING = "#!/bin/bash\necho ECS_ENABLE_SPOT_INSTANCE_DRAINING=true >> /etc/ecs/ecs.config"


@dataclass(frozen=True, slots=True, kw_only=True)
class Capacity:
    """What a compute environment has.

    Attributes:
        is_arm: Whether its processors are Graviton.
        has_gpu: Whether its instances have GPUs.
        instance_types: Types or families of EC2 instances.
        disk_gb: Disk of an EC2 instance for its jobs together, in GiB.
    """

    kind: Kind
    is_arm: bool = False
    has_gpu: bool = False
    instance_types: tuple[str, ...] = ()
    disk_gb: int = 0

    @property
    def is_ec2(self) -> bool:
        """Whether jobs run on instances of the account."""
        return self.kind in {"ec2", "ec2_spot"}

    @property
    def id(self) -> str:
        """A construct id.

        It has what AWS Batch cannot change in place, and no number: jobs go on when one of several
        targets goes, or their order changes.
        """
        parts = [self.kind, "arm64" if self.is_arm else "x86-64", *(["gpu"] * self.has_gpu)]
        return "-".join(parts).title()


class ComputeEnvironment(Construct):
    """A compute environment of AWS Batch.

    It has no role of its own, so AWS Batch uses the account's service-linked one, which it also
    needs for changing instances in place.
    https://docs.aws.amazon.com/batch/latest/userguide/updating-compute-environments.html

    Args:
        most_cpu: How many virtual processors its jobs may use at the same time.
    """

    def __init__(
        self, scope: Construct, id: str, capacity: Capacity, network: TargetNetwork, most_cpu: int
    ) -> None:
        super().__init__(scope, id)
        self._most_cpu = most_cpu
        type_, allocation = _TYPES[capacity.kind]
        on_instances = _on_instances(self, capacity) if capacity.is_ec2 else {}
        self._resource = batch.CfnComputeEnvironment(
            self,
            "Environment",
            type="MANAGED",
            replace_compute_environment=False,
            update_policy=(
                batch.CfnComputeEnvironment.UpdatePolicyProperty(
                    job_execution_timeout_minutes=_MINUTES_OF_RUNNING_JOBS,
                    terminate_jobs_on_update=False,
                )
                if capacity.is_ec2
                else None
            ),
            compute_resources=batch.CfnComputeEnvironment.ComputeResourcesProperty(
                type=type_,
                allocation_strategy=allocation,
                maxv_cpus=most_cpu,
                subnets=network.subnet_ids,
                security_group_ids=network.security_group_ids,
                **on_instances,
            ),
        )
        self.arn = self._resource.attr_compute_environment_arn

    def share(self, most_cpu: int) -> None:
        """Let another target use it, too: the larger limit is that of both together."""
        self._most_cpu = max(self._most_cpu, most_cpu)
        self._resource.add_property_override("ComputeResources.MaxvCpus", self._most_cpu)


def shared_environment(
    scope: Construct, capacity: Capacity, network: TargetNetwork, most_cpu: int
) -> ComputeEnvironment:
    """Return the compute environment that another target has made in a scope, or make it.

    On Fargate the scope is that of all targets. On EC2 it is the target itself, which so shares
    none: an instance is the border between roles. A job there has the network of its instance, so
    it may take the instance's role, and with it the roles of the jobs beside it.
    https://docs.aws.amazon.com/AmazonECS/latest/developerguide/ec2-security-considerations.html
    """
    if found := scope.node.try_find_child(capacity.id):
        made = cast("ComputeEnvironment", found)
        made.share(most_cpu)
        return made
    return ComputeEnvironment(scope, capacity.id, capacity, network, most_cpu)


def _on_instances(scope: Construct, capacity: Capacity) -> dict[str, Any]:
    """Return the properties of a compute environment that only instances have."""
    template = _launch_template(scope, capacity)
    system = "ECS_AL2023_NVIDIA" if capacity.has_gpu else "ECS_AL2023"
    return {
        "minv_cpus": 0,
        "instance_types": list(capacity.instance_types),
        "instance_role": _instance_profile(scope).attr_arn,
        "ec2_configuration": [
            batch.CfnComputeEnvironment.Ec2ConfigurationObjectProperty(image_type=system)
        ],
        "update_to_latest_image_version": True,
        "launch_template": batch.CfnComputeEnvironment.LaunchTemplateSpecificationProperty(
            launch_template_id=template.launch_template_id,
            version=template.latest_version_number,
        ),
        # AWS Batch does not pass the stack's tags on, and a budget goes by them.
        "tags": dict(cdk.Stack.of(scope).tags.tag_values()),
    }


def _launch_template(scope: Construct, capacity: Capacity) -> ec2.LaunchTemplate:
    """Make the template of the instances, whose user data AWS Batch takes in MIME parts only.

    https://docs.aws.amazon.com/batch/latest/userguide/launch-templates.html
    """
    user_data = None
    if capacity.kind == "ec2_spot":
        user_data = ec2.MultipartUserData()
        user_data.add_part(
            ec2.MultipartBody.from_raw_body(
                content_type='text/x-shellscript; charset="us-ascii"', body=_DRAINING
            )
        )
    return ec2.LaunchTemplate(
        scope,
        "Template",
        user_data=user_data,
        # A job that is made to fetch an address cannot begin a session. These two do not keep the
        # instance's role from a job that wants it: between them is no hop.
        # https://docs.aws.amazon.com/batch/latest/userguide/networking-modes-jobs.html
        require_imdsv2=True,
        http_put_response_hop_limit=1,
        block_devices=[
            ec2.BlockDevice(
                device_name="/dev/xvda",
                volume=ec2.BlockDeviceVolume.ebs(
                    _SYSTEM_DISK_GB + capacity.disk_gb,
                    encrypted=True,
                    volume_type=ec2.EbsDeviceVolumeType.GP3,
                ),
            )
        ],
    )


def _instance_profile(scope: Construct) -> iam.CfnInstanceProfile:
    role = iam.Role(
        scope,
        "InstanceRole",
        assumed_by=iam.ServicePrincipal("ec2.amazonaws.com"),
        managed_policies=[
            iam.ManagedPolicy.from_aws_managed_policy_name(
                "service-role/AmazonEC2ContainerServiceforEC2Role"
            )
        ],
    )
    policy = "Policy::arn:<AWS::Partition>:iam::aws:policy/service-role/"
    acknowledge(
        role,
        **{
            f"IAM4[{policy}AmazonEC2ContainerServiceforEC2Role]": (
                "AWS documents this policy for instances that run containers for AWS Batch: "
                "https://docs.aws.amazon.com/batch/latest/userguide/instance_IAM_role.html"
            )
        },
    )
    return iam.CfnInstanceProfile(scope, "InstanceProfile", roles=[role.role_name])
