"""One of Airflow's programs as a service on Fargate: how it is started, checked and replaced."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import aws_cdk as cdk
from aws_cdk import aws_ec2 as ec2
from aws_cdk import aws_ecs as ecs
from aws_cdk import aws_logs as logs
from constructs import Construct

from airflow_lambda_constructs.acknowledge import acknowledge, acknowledge_any_resource

#: The program takes Airflow's arguments, turns the secrets into settings, and becomes Airflow.
ENTRY_POINT = ("python", "-m", "lambda_image.control_plane")

#: The image's user has no home, and may write to `/tmp` only.
AIRFLOW_HOME = "/tmp/airflow"  # noqa: S108 - the container's own

#: Migrating a large database takes long; by default a task gives up after three minutes.
#: https://docs.aws.amazon.com/AmazonECS/latest/APIReference/API_ContainerDefinition.html
_STEP_TIMEOUT = cdk.Duration.minutes(60)

#: The longest that Fargate gives a container to end its work.
_STOP_TIMEOUT = cdk.Duration.seconds(120)

#: On the smallest size a program imports and connects for this long before it answers.
_START_PERIOD = cdk.Duration.seconds(180)


@dataclass(frozen=True, slots=True, kw_only=True)
class AirflowImage:
    """The functions' image, which all programs run too: the same Airflow, the same DAG files."""

    image: ecs.ContainerImage
    architecture: ecs.CpuArchitecture


@dataclass(frozen=True, slots=True, kw_only=True)
class Surroundings:
    """Everything that the services of one control plane share.

    Attributes:
        subnets: They have a route to AWS services.
        security_groups: Each service carries all of them.
        log_group: Receives the output of all services.
        cpu: CPU units of each service.
        environment: Airflow's settings without secrets.
        secrets: The entry point turns them into the other settings.
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
    """The settings of one `AirflowService`.

    Attributes:
        command: Airflow's arguments.
        health_command: Exits with 0 as long as the program works.
        secrets: More secrets, for this program alone.
        first: Airflow's arguments of a step that must succeed before each start; None: no step.
        execute_command: Whether people with the permission may open a shell or a tunnel into it.
        discovery: Its DNS name in the VPC; None: it has none.
        behind_load_balancer: Whether a load balancer checks it too.
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

    A new version starts before the old one stops, and a version that does not become healthy is
    rolled back.
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
            # Until then only the container's own check counts.
            health_check_grace_period=_START_PERIOD if props.behind_load_balancer else None,
            enable_execute_command=props.execute_command,
            propagate_tags=ecs.PropagatedTagSource.SERVICE,
        )
        acknowledge(
            definition,
            ECS2="Plain variables hold configuration; secrets are references to Secrets Manager.",
        )
        acknowledge_any_resource(
            definition.obtain_execution_role(),
            "ecr:GetAuthorizationToken, the log-in to the registry, has no resource-level "
            "permission: https://docs.aws.amazon.com/service-authorization/latest/reference/"
            "list_amazonelasticcontainerregistry.html",
        )
        if props.execute_command:
            acknowledge_any_resource(
                self.role,
                "The four actions of ssmmessages, which carry the session, have no resource-level "
                "permission: https://docs.aws.amazon.com/AmazonECS/latest/developerguide/"
                "ecs-exec.html#ecs-exec-required-iam-permissions",
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
            # Airflow's programs fork, and only an init process reaps orphaned children.
            linux_parameters=ecs.LinuxParameters(self, f"Linux-{name}", init_process_enabled=True),
        )


def _health_check(command: Sequence[str]) -> ecs.HealthCheck:
    """Have ECS replace a task after five failures in a row; a short failover causes fewer."""
    return ecs.HealthCheck(
        command=["CMD", *command],
        interval=cdk.Duration.seconds(60),
        timeout=cdk.Duration.seconds(45),
        retries=5,
        start_period=_START_PERIOD,
    )
