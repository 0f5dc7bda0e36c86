"""One of Airflow's programs as a service on Fargate.

Owns how such a program is started, watched and replaced. It must not know which programs there
are, nor what stands in front of them.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import aws_cdk as cdk
from aws_cdk import aws_ec2 as ec2
from aws_cdk import aws_ecs as ecs
from aws_cdk import aws_iam as iam
from aws_cdk import aws_logs as logs
from constructs import Construct

from airflow_lambda_constructs.acknowledge import acknowledge

#: Takes Airflow's arguments, makes its settings of the secrets, and becomes Airflow.
ENTRY_POINT = ("python", "-m", "lambda_image.control_plane")

#: Below a folder that any user may write to: the image's user has no home.
AIRFLOW_HOME = "/tmp/airflow"  # noqa: S108 - the container's own

#: A migration of a large database takes its time; by default a task gives up after three minutes.
#: https://docs.aws.amazon.com/AmazonECS/latest/APIReference/API_ContainerDefinition.html
_STEP_TIMEOUT = cdk.Duration.minutes(60)

#: The longest that Fargate lets a container end its work.
_STOP_TIMEOUT = cdk.Duration.seconds(120)

#: A start, on the smallest size, imports and connects for a while before anything answers.
_START_PERIOD = cdk.Duration.seconds(180)


@dataclass(frozen=True, slots=True, kw_only=True)
class AirflowImage:
    """What all of Airflow's programs run from.

    Attributes:
        image: The functions' image: the same Airflow, the same DAG files.
        architecture: The image's.
    """

    image: ecs.ContainerImage
    architecture: ecs.CpuArchitecture


@dataclass(frozen=True, slots=True, kw_only=True)
class Surroundings:
    """What the services of one control plane share.

    Attributes:
        cluster: Where they run.
        subnets: With a way out.
        security_groups: Carried by each.
        log_group: Takes the output of all of them, each in streams of its own.
        image: What they run from.
        cpu: Units of each service.
        memory_mb: Of each service.
        environment: Airflow's settings; no secret is among them.
        secrets: What the entry point makes the other settings of.
    """

    cluster: ecs.ICluster
    subnets: ec2.SubnetSelection
    security_groups: Sequence[ec2.ISecurityGroup]
    log_group: logs.ILogGroup
    image: AirflowImage
    cpu: int
    memory_mb: int
    environment: Mapping[str, str]
    secrets: Mapping[str, ecs.Secret]


@dataclass(frozen=True, slots=True, kw_only=True)
class AirflowServiceProps:
    """What is an `AirflowService`'s own.

    Attributes:
        command: Airflow's arguments.
        health_command: Ends with 0 as long as the program does its work.
        count: How many of it run.
        secrets: More secrets, for the program alone.
        ports: What it listens on.
        first: Airflow's arguments of a step that must succeed before each start; None: no step.
        execute_command: Whether people with the permission get a shell, and a tunnel, into it.
        discovery: The name that it has in the VPC; None: nobody calls it by one.
        behind_load_balancer: Whether one checks it too, and has ECS replace what fails.
    """

    command: Sequence[str]
    health_command: Sequence[str]
    count: int
    secrets: Mapping[str, ecs.Secret] = field(default_factory=dict)
    ports: Sequence[int] = ()
    first: Sequence[str] | None = None
    execute_command: bool = False
    discovery: ecs.CloudMapOptions | None = None
    behind_load_balancer: bool = False


class AirflowService(Construct):
    """A Fargate service of one program.

    A new version starts before the old one is stopped, and a version that does not get healthy is
    taken back.

    Attributes:
        role: Of the program: what it may do in AWS.
    """

    def __init__(
        self, scope: Construct, id: str, props: AirflowServiceProps, around: Surroundings
    ) -> None:
        super().__init__(scope, id)
        definition = ecs.FargateTaskDefinition(
            self,
            "Task",
            cpu=around.cpu,
            memory_limit_mib=around.memory_mb,
            runtime_platform=ecs.RuntimePlatform(
                cpu_architecture=around.image.architecture,
                operating_system_family=ecs.OperatingSystemFamily.LINUX,
            ),
        )
        self.role = definition.task_role
        program = self._container(
            definition,
            props.command,
            around,
            secrets=props.secrets,
            health=_health_check(props.health_command),
        )
        program.add_port_mappings(*(ecs.PortMapping(container_port=port) for port in props.ports))
        if props.first:
            step = self._container(definition, props.first, around)
            program.add_container_dependencies(
                ecs.ContainerDependency(
                    container=step, condition=ecs.ContainerDependencyCondition.SUCCESS
                )
            )
        self.service = ecs.FargateService(
            self,
            "Service",
            cluster=around.cluster,
            task_definition=definition,
            desired_count=props.count,
            vpc_subnets=around.subnets,
            security_groups=list(around.security_groups),
            assign_public_ip=False,
            min_healthy_percent=100,
            max_healthy_percent=200,
            circuit_breaker=ecs.DeploymentCircuitBreaker(rollback=True),
            cloud_map_options=props.discovery,
            # Or the load balancer's opinion counts before the container's own check does.
            health_check_grace_period=_START_PERIOD if props.behind_load_balancer else None,
            enable_execute_command=props.execute_command,
            propagate_tags=ecs.PropagatedTagSource.SERVICE,
        )
        acknowledge(
            definition,
            ECS2="What is set directly is configuration; every secret is a reference to Secrets "
            "Manager.",
        )
        self._acknowledge_registry_log_in(definition)
        if props.execute_command:
            acknowledge(
                self.role,
                **{
                    "IAM5[Resource::*]": "The four actions of ssmmessages, which carry the "
                    "session, have no resource-level permission: https://docs.aws.amazon.com/AmazonECS/"
                    "latest/developerguide/ecs-exec.html#ecs-exec-required-iam-permissions"
                },
            )

    def _container(
        self,
        definition: ecs.FargateTaskDefinition,
        command: Sequence[str],
        around: Surroundings,
        *,
        secrets: Mapping[str, ecs.Secret] | None = None,
        health: ecs.HealthCheck | None = None,
    ) -> ecs.ContainerDefinition:
        name = "-".join(part for part in command if not part.startswith("--"))
        return definition.add_container(
            name,
            image=around.image.image,
            entry_point=list(ENTRY_POINT),
            command=list(command),
            environment={"AIRFLOW_HOME": AIRFLOW_HOME, **around.environment},
            secrets={**around.secrets, **(secrets or {})},
            logging=ecs.LogDrivers.aws_logs(stream_prefix="airflow", log_group=around.log_group),
            essential=health is not None,
            health_check=health,
            start_timeout=None if health else _STEP_TIMEOUT,
            stop_timeout=_STOP_TIMEOUT,
            # Airflow's programs fork, and nobody else would collect what their children leave.
            linux_parameters=ecs.LinuxParameters(self, f"Linux-{name}", init_process_enabled=True),
        )

    def _acknowledge_registry_log_in(self, definition: ecs.FargateTaskDefinition) -> None:
        role = definition.obtain_execution_role()
        if isinstance(role, iam.Role):
            acknowledge(
                role,
                **{
                    "IAM5[Resource::*]": "ecr:GetAuthorizationToken, the log-in to the registry, "
                    "has no resource-level permission: "
                    "https://docs.aws.amazon.com/service-authorization/latest/reference/"
                    "list_amazonelasticcontainerregistry.html"
                },
            )


def _health_check(command: Sequence[str]) -> ecs.HealthCheck:
    """ECS replaces the task after five failures in a row, which a short failover stays below."""
    return ecs.HealthCheck(
        command=["CMD", *command],
        interval=cdk.Duration.seconds(60),
        timeout=cdk.Duration.seconds(45),
        retries=5,
        start_period=_START_PERIOD,
    )
