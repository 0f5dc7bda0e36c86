"""A target of Amazon ECS: a task definition on Fargate, in the cluster of all such targets."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import aws_cdk as cdk
from aws_cdk import aws_ecs as ecs
from aws_cdk import aws_iam as iam
from constructs import Construct

from airflow_lambda_constructs.acknowledge import acknowledge
from airflow_lambda_constructs.execution.permissions import read_log
from airflow_lambda_constructs.execution.shared_files import SharedFiles
from airflow_lambda_constructs.execution.target import TargetNetwork, TargetSurroundings, allow
from airflow_lambda_constructs.targets.container import (
    CONTAINER,
    ECS_TASKS,
    SHARED_FILES,
    ContainerTargetProps,
    execution_role,
    larger_disk,
    network_of,
)

#: Construct id of the cluster beside the targets, which have no hyphens in theirs.
_CLUSTER = "ecs-cluster"

#: CPU units of a virtual processor.
_UNITS = 1024

#: The longest that Fargate gives a container to end its work: 90 s more than a job needs.
_STOP_TIMEOUT = cdk.Duration.seconds(120)

_REVISIONS = "Each deploy makes a new revision of the task definition."
_TASKS = "AWS chooses the ids of tasks; the cluster has only tasks of this environment."
_LISTS = (
    "ecs:ListTasks is for container instances, of which Fargate has none; the condition names the "
    "cluster."
)
_DESCRIPTION = (
    "ecs:DescribeTaskDefinition reads a definition by its family and has no resource-level "
    "permission."
)


@dataclass(frozen=True, slots=True, kw_only=True)
class EcsTargetProps(ContainerTargetProps):
    """The settings of an `EcsTarget`; `spot` is whether its tasks run on spare capacity."""

    spot: bool = False

    def make(self, scope: Construct, id: str, around: TargetSurroundings) -> EcsTarget:
        """Make it, with a cluster if no other target has made it."""
        return EcsTarget(scope, id, self, around)


class EcsTarget(Construct):
    """Tasks of Amazon ECS on Fargate.

    The family of the task definition is the same in every deploy, and means its newest revision.
    """

    service = "ecs"

    def __init__(
        self, scope: Construct, id: str, props: EcsTargetProps, around: TargetSurroundings
    ) -> None:
        super().__init__(scope, id)
        self._props = props
        self._family = f"{around.name}-{props.name}"
        self.queues = props.queues
        self.offer = props.offer()
        self._network = network_of(props.name, around)
        # A name that is known before the deploy: a scheduler goes on when the cluster is replaced.
        self._cluster_name = f"{around.name}-targets"
        if scope.node.try_find_child(_CLUSTER) is None:
            _make_cluster(scope, self._cluster_name, self._network)
        self.log_group = around.log_group(self, self.service, props.name)
        self.role = props.role(self, around, iam.ServicePrincipal(ECS_TASKS))
        self._execution_role = execution_role(self, self.log_group)
        self._definition(props.variables(self, around), around.shared_files)

    @property
    def request(self) -> Mapping[str, object]:
        """The parameters of `RunTask`, and the container that runs the workload."""
        network = self._network
        provider = "FARGATE_SPOT" if self._props.spot else "FARGATE"
        return {
            "cluster": self._cluster_name,
            "taskDefinition": self._family,
            "containerName": CONTAINER,
            "capacityProviderStrategy": [{"capacityProvider": provider, "weight": 1}],
            "networkConfiguration": {
                "awsvpcConfiguration": {
                    "subnets": network.subnet_ids,
                    "securityGroups": network.security_group_ids,
                    "assignPublicIp": "ENABLED" if network.public_addresses else "DISABLED",
                }
            },
            # The tags of the definition are those of the stack, so a budget sees what tasks cost.
            "propagateTags": "TASK_DEFINITION",
        }

    def grant_dispatch(self, policy: iam.ManagedPolicy) -> None:
        """Let a scheduler run tasks, find and end them, read their log, and check all of it.

        https://docs.aws.amazon.com/AmazonECS/latest/developerguide/security_iam_id-based-policy-examples.html
        """
        cluster = self._arn("cluster", self._cluster_name)
        tasks = [self._arn("task", f"{self._cluster_name}/*")]
        here = {"ArnEquals": {"ecs:cluster": cluster}}
        definitions = [self._arn("task-definition", f"{self._family}:*")]
        allow(policy, ["ecs:RunTask"], definitions, conditions=here, why=_REVISIONS)
        allow(policy, ["ecs:DescribeTasks", "ecs:StopTask"], tasks, why=_TASKS)
        allow(policy, ["ecs:ListTasks"], ["*"], conditions=here, why=_LISTS)
        allow(policy, ["ecs:DescribeClusters"], [cluster])
        allow(policy, ["ecs:DescribeTaskDefinition"], ["*"], why=_DESCRIPTION)
        allow(
            policy,
            ["ecs:TagResource"],
            tasks,
            conditions={"StringEquals": {"ecs:CreateAction": "RunTask"}},
            why=_TASKS,
        )
        allow(
            policy,
            ["iam:PassRole"],
            [self.role.role_arn, self._execution_role.role_arn],
            conditions={"StringEquals": {"iam:PassedToService": ECS_TASKS}},
        )
        read_log(self.log_group, policy)

    def _definition(self, variables: Mapping[str, str], files: SharedFiles | None) -> None:
        props = self._props
        disk = larger_disk(props)
        definition = ecs.FargateTaskDefinition(
            self,
            "Definition",
            family=self._family,
            cpu=round(props.cpu * _UNITS),
            memory_limit_mib=props.memory_mb,
            ephemeral_storage_gib=None if disk is None else props.disk_gb,
            runtime_platform=ecs.RuntimePlatform(
                cpu_architecture=props.architecture,
                operating_system_family=ecs.OperatingSystemFamily.LINUX,
            ),
            task_role=self.role,
            execution_role=self._execution_role,
        )
        container = definition.add_container(
            CONTAINER,
            image=props.image,
            environment=variables,
            logging=ecs.LogDrivers.aws_logs(stream_prefix="task", log_group=self.log_group),
            stop_timeout=_STOP_TIMEOUT,
        )
        if files:
            files.grant_use(self.role)
            _mount(files, definition, container)
        acknowledge(
            definition,
            ECS2="Plain variables hold configuration; secrets are references to Secrets Manager.",
        )

    def _arn(self, resource: str, name: str) -> str:
        return cdk.Stack.of(self).format_arn(service="ecs", resource=resource, resource_name=name)


def _mount(
    files: SharedFiles, definition: ecs.TaskDefinition, container: ecs.ContainerDefinition
) -> None:
    """Mount the shared files with the role of the task."""
    definition.add_volume(
        name=SHARED_FILES,
        efs_volume_configuration=ecs.EfsVolumeConfiguration(
            file_system_id=files.file_system_id,
            transit_encryption="ENABLED",
            authorization_config=ecs.AuthorizationConfig(
                access_point_id=files.access_point_id, iam="ENABLED"
            ),
        ),
    )
    container.add_mount_points(
        ecs.MountPoint(container_path=files.mount, source_volume=SHARED_FILES, read_only=False)
    )


def _make_cluster(scope: Construct, name: str, network: TargetNetwork) -> None:
    """Make the cluster of the environment's targets."""
    cluster = ecs.Cluster(
        scope,
        _CLUSTER,
        cluster_name=name,
        vpc=network.vpc,
        container_insights_v2=ecs.ContainerInsights.DISABLED,
        enable_fargate_capacity_providers=True,
    )
    acknowledge(
        cluster,
        ECS4="Container Insights creates a log group that outlives the stack, and charges by "
        "metric; the executor reports each task that ends without a result.",
    )
