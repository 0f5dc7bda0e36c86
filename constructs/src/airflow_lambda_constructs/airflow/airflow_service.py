"""Airflow's programs as a service on Fargate: how they are started, checked and replaced."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import aws_cdk as cdk
from aws_cdk import aws_ec2 as ec2
from aws_cdk import aws_ecs as ecs
from aws_cdk import aws_kms as kms
from aws_cdk import aws_logs as logs
from constructs import Construct

from airflow_lambda_constructs.acknowledge import (
    acknowledge,
    acknowledge_any_resource,
    acknowledge_registry_login,
)
from airflow_lambda_constructs.execution.permissions import decryption_of_secrets

#: Takes Airflow's arguments, turns the secrets into settings, and becomes Airflow.
ENTRY_POINT = ("python", "-m", "lambda_image.control_plane")

#: The image's user has no home, and may write to `/tmp` only.
AIRFLOW_HOME = "/tmp/airflow"  # noqa: S108 - the container's own

#: The longest that Fargate gives a container to end its work.
_STOP_TIMEOUT = cdk.Duration.seconds(120)

#: The longest that ECS ignores failures of a container that starts. On the smallest size a program
#: imports and connects for minutes before it answers, and an api-server migrates the database
#: before that.
#: https://docs.aws.amazon.com/AmazonECS/latest/APIReference/API_HealthCheck.html
_START_PERIOD = cdk.Duration.seconds(300)


@dataclass(frozen=True, slots=True, kw_only=True)
class AirflowImage:
    """The functions' image, which all programs run too: the same Airflow, the same DAG files."""

    image: ecs.ContainerImage
    architecture: ecs.CpuArchitecture


@dataclass(frozen=True, slots=True, kw_only=True)
class TaskSize:
    """The size of a Fargate task, which all of its containers share.

    Attributes:
        cpu: CPU units; 1024 are one vCPU.
    """

    cpu: int
    memory_mb: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Surroundings:
    """Everything that the services of one control plane share.

    Attributes:
        subnets: They have a route to AWS services.
        public_addresses: Whether the tasks have public addresses, as public subnets need.
        spot: Whether the tasks run on spare capacity, which AWS may take back.
        security_groups: Each service carries all of them.
        log_group: Receives the output of all services.
        environment: Airflow's settings without secrets.
        secrets: The entry point turns them into the other settings.
        encryption_key: Encrypts the secrets; None: AWS's own keys.
    """

    cluster: ecs.ICluster
    subnets: ec2.SubnetSelection
    public_addresses: bool
    spot: bool
    security_groups: Sequence[ec2.ISecurityGroup]
    log_group: logs.ILogGroup
    image: AirflowImage
    environment: Mapping[str, str]
    secrets: Mapping[str, ecs.Secret]
    encryption_key: kms.IKey | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Program:
    """One of Airflow's programs, which is one container.

    Attributes:
        name: Airflow's name of it.
        command: The arguments of `ENTRY_POINT`.
        health_command: Exits with 0 as long as the program works.
        secrets: More secrets, for this program alone.
    """

    name: str
    command: Sequence[str]
    health_command: Sequence[str]
    secrets: Mapping[str, ecs.Secret] = field(default_factory=dict)
    ports: Sequence[int] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class AirflowServiceProps:
    """The settings of one `AirflowService`.

    Attributes:
        programs: The containers of each task; the others start once the first one is healthy.
        count: How many tasks run.
        execute_command: Whether people with the permission may open a shell or a tunnel into it.
        discovery: Its DNS name in the VPC; None: it has none.
        behind_load_balancer: Whether a load balancer checks it too.
    """

    programs: Sequence[Program]
    size: TaskSize
    count: int
    execute_command: bool = False
    discovery: ecs.CloudMapOptions | None = None
    behind_load_balancer: bool = False


class AirflowService(Construct):
    """A Fargate service of one program, or of several that share a task.

    A new version starts before the old one stops, and a version that does not become healthy is
    rolled back.

    Attributes:
        role: What the programs may do.
    """

    def __init__(
        self, scope: Construct, id: str, props: AirflowServiceProps, around: Surroundings
    ) -> None:
        super().__init__(scope, id)
        self._around = around
        self._definition = self._task_definition(props.size)
        self.role = self._definition.task_role
        first, *others = [self._container(program) for program in props.programs]
        for container in others:
            container.add_container_dependencies(
                ecs.ContainerDependency(
                    container=first, condition=ecs.ContainerDependencyCondition.HEALTHY
                )
            )
        self.service = ecs.FargateService(
            self,
            "Service",
            cluster=around.cluster,
            task_definition=self._definition,
            desired_count=props.count,
            # Not a launch type: a service can change its capacity provider, and keeps its name.
            capacity_provider_strategies=[
                ecs.CapacityProviderStrategy(
                    capacity_provider="FARGATE_SPOT" if around.spot else "FARGATE", weight=1
                )
            ],
            vpc_subnets=around.subnets,
            security_groups=list(around.security_groups),
            assign_public_ip=around.public_addresses,
            min_healthy_percent=100,
            # One more at a time: a deploy of all at once would need twice the quota of vCPUs.
            max_healthy_percent=150 if props.count > 1 else 200,
            circuit_breaker=ecs.DeploymentCircuitBreaker(rollback=True),
            cloud_map_options=props.discovery,
            # Until then only the container's own check counts.
            health_check_grace_period=_START_PERIOD if props.behind_load_balancer else None,
            enable_execute_command=props.execute_command,
            propagate_tags=ecs.PropagatedTagSource.SERVICE,
        )
        # ECS refuses to part a cluster from capacity providers that a service uses.
        self.service.node.add_dependency(around.cluster)
        self._let_ecs_start_it()
        if props.execute_command:
            acknowledge_any_resource(
                self.role,
                "The four actions of ssmmessages, which carry the session, have no resource-level "
                "permission: https://docs.aws.amazon.com/AmazonECS/latest/developerguide/"
                "ecs-exec.html#ecs-exec-required-iam-permissions",
            )

    def _task_definition(self, size: TaskSize) -> ecs.FargateTaskDefinition:
        definition = ecs.FargateTaskDefinition(
            self,
            "Task",
            cpu=size.cpu,
            memory_limit_mib=size.memory_mb,
            runtime_platform=ecs.RuntimePlatform(
                cpu_architecture=self._around.image.architecture,
                operating_system_family=ecs.OperatingSystemFamily.LINUX,
            ),
        )
        acknowledge(
            definition,
            ECS2="Plain variables hold configuration; secrets are references to Secrets Manager.",
        )
        return definition

    def _let_ecs_start_it(self) -> None:
        """Complete the role with which ECS pulls the image and reads the secrets."""
        role = self._definition.obtain_execution_role()
        # A task must not start before its role has the permissions.
        self.service.node.add_dependency(role)
        acknowledge_registry_login(role)
        if key := self._around.encryption_key:
            # The CDK's own grant of a secret reaches the policy of the key only, which an imported
            # key does not have: https://github.com/aws/aws-cdk/issues/17156
            role.add_to_principal_policy(decryption_of_secrets(self, key))

    def _container(self, program: Program) -> ecs.ContainerDefinition:
        around = self._around
        container = self._definition.add_container(
            program.name,
            image=around.image.image,
            entry_point=list(ENTRY_POINT),
            command=list(program.command),
            environment={"AIRFLOW_HOME": AIRFLOW_HOME, **around.environment},
            secrets={**around.secrets, **program.secrets},
            logging=ecs.LogDrivers.aws_logs(stream_prefix="airflow", log_group=around.log_group),
            health_check=_health_check(program.health_command),
            stop_timeout=_STOP_TIMEOUT,
            # Airflow's programs fork, and only an init process reaps orphaned children.
            linux_parameters=ecs.LinuxParameters(
                self, f"Linux-{program.name}", init_process_enabled=True
            ),
        )
        container.add_port_mappings(*(ecs.PortMapping(container_port=p) for p in program.ports))
        return container


def _health_check(command: Sequence[str]) -> ecs.HealthCheck:
    """Have ECS replace a task after five minutes, longer than a failover of the database."""
    return ecs.HealthCheck(
        command=["CMD", *command],
        interval=cdk.Duration.seconds(30),
        timeout=cdk.Duration.seconds(30),
        retries=10,
        start_period=_START_PERIOD,
    )
