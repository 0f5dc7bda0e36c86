"""Airflow's own programs on Fargate, and how people and functions reach them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import cast

import aws_cdk as cdk
from aws_cdk import aws_apigatewayv2 as apigateway
from aws_cdk import aws_ec2 as ec2
from aws_cdk import aws_ecs as ecs
from aws_cdk import aws_elasticloadbalancingv2 as elb
from aws_cdk import aws_iam as iam
from aws_cdk import aws_kms as kms
from aws_cdk import aws_logs as logs
from aws_cdk import aws_secretsmanager as secretsmanager
from aws_cdk import aws_servicediscovery as servicediscovery
from constructs import Construct

from airflow_lambda_constructs.acknowledge import acknowledge
from airflow_lambda_constructs.airflow.airflow_service import (
    AirflowImage,
    AirflowService,
    AirflowServiceProps,
    Program,
    Surroundings,
    TaskSize,
)
from airflow_lambda_constructs.airflow.api_entrance import ApiEntrance
from airflow_lambda_constructs.airflow.entrance import Entrance
from airflow_lambda_constructs.execution.permissions import WorkloadSecret, permit
from airflow_lambda_constructs.names import in_ids
from lambda_executor.contract import names

API_SERVER, SCHEDULER, DAG_PROCESSOR, TRIGGERER = PROGRAMS = (
    "api-server",
    "scheduler",
    "dag-processor",
    "triggerer",
)
API_PORT = 8080
#: Airflow's default port for the log server of the triggerer.
_LOG_SERVER_PORT = 8794
_HEALTH_PATH = "/api/v2/monitor/health"
EXECUTION_PATH = "/execution"

#: How long clients remember the addresses of the api-servers, and that there are none.
_DNS_TTL = cdk.Duration.seconds(10)

_HEARTBEAT = ("python", "-m", "lambda_image.heartbeat")

#: The container's name and arguments of each program. Each start of an api-server migrates the
#: database first, and the other programs start when it is healthy.
COMMANDS: Mapping[str, tuple[str, ...]] = {
    API_SERVER: ("--migrate", API_SERVER, "--proxy-headers"),
    **{name: (name,) for name in (SCHEDULER, DAG_PROCESSOR, TRIGGERER)},
}

#: A program with a port for it is asked there. The heartbeat of the others is in the database.
HEALTH_COMMANDS: Mapping[str, tuple[str, ...]] = {
    API_SERVER: (
        "python",
        "-c",
        (
            "import json, urllib.request as r; "
            f"h = json.load(r.urlopen('http://127.0.0.1:{API_PORT}{_HEALTH_PATH}', timeout=20)); "
            "exit(h['metadatabase']['status'] != 'healthy')"
        ),
    ),
    SCHEDULER: (
        "python",
        "-c",
        "import urllib.request as r; r.urlopen('http://127.0.0.1:8974/health', timeout=20)",
    ),
    DAG_PROCESSOR: (*_HEARTBEAT, "DagProcessorJob"),
    TRIGGERER: (*_HEARTBEAT, "TriggererJob"),
}

#: Settings that every Airflow in this control plane needs.
SETTINGS: Mapping[str, str] = {
    # Replaces the image's callable, which is for execution environments. The api-server asks the
    # triggerer for logs under this name, and the health checks look for it.
    "AIRFLOW__CORE__HOSTNAME_CALLABLE": "lambda_image.heartbeat.host_address",
    "AIRFLOW__API__PORT": str(API_PORT),
    "AIRFLOW__API__WORKERS": "1",
    "AIRFLOW__SCHEDULER__ENABLE_HEALTH_CHECK": "True",
    # Airflow's 1 s is long for a short task: docs/decisions/0025-the-schedulers-sleep.md
    "AIRFLOW__SCHEDULER__SCHEDULER_IDLE_SLEEP_TIME": "0.25",
    # The dag-processor keeps a log file for each DAG file until its task ends. Two lines for each
    # parse, every half minute, would fill the task's disk: https://github.com/apache/airflow/issues/70968
    "AIRFLOW__LOGGING__NAMESPACE_LEVELS": "airflow.dag_processing.dagbag=WARNING",
    # Airflow then believes the load balancer's headers about a client's protocol and address.
    "FORWARDED_ALLOW_IPS": "*",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Database:
    """Airflow's metadata database; `secret` is JSON with username and password."""

    host: str
    port: str
    name: str
    secret: secretsmanager.ISecret
    fernet_key: secretsmanager.ISecret


@dataclass(frozen=True, slots=True, kw_only=True)
class ControlPlaneProps:
    """The settings of a `ControlPlane`.

    Attributes:
        namespace: Domain of the services in the VPC.
        subnets: The services' subnets; they have a route to AWS services.
        public_addresses: Whether the programs have public addresses, as public subnets need. Nobody
            can connect to them.
        spot: Whether the programs run on spare capacity, which AWS may take back.
        functions: Security group of functions in the VPC, which call the Execution API; None: they
            are outside it.
        carried: Security groups that let the services reach other resources, such as the database.
        load_balancer: Through it people open the UI; None: through a tunnel, or the API Gateway.
        api_gateway: Through it functions outside the VPC call the Execution API; None: they cannot.
        one_task: The size of one task with all programs; None: each program is a service.
        sizes: The size of each program that is a service.
        execute_command: Whether people with the permission may open a tunnel and a shell into an
            api-server, and a shell into a scheduler.
        settings: Airflow's settings as variables, without secrets.
        secrets: More variables of all programs, which ECS takes from Secrets Manager.
        policies: Managed policies of the roles of all programs.
        statements: What else all programs may do.
        removal_policy: What happens to logs and secrets when they leave the stack.
        encryption_key: None: AWS's own keys.
    """

    name: str
    namespace: str
    vpc: ec2.IVpc
    subnets: ec2.SubnetSelection
    public_addresses: bool = False
    spot: bool = False
    functions: ec2.ISecurityGroup | None
    carried: Sequence[ec2.ISecurityGroup]
    load_balancer: Entrance | None
    api_gateway: ApiEntrance | None = None
    database: Database
    image: AirflowImage
    one_task: TaskSize | None = None
    sizes: Mapping[str, TaskSize]
    api_servers: int
    schedulers: int
    triggerers: int
    execute_command: bool
    settings: Mapping[str, str]
    log_group_name: str
    log_retention: logs.RetentionDays
    removal_policy: cdk.RemovalPolicy
    encryption_key: kms.IKey | None
    secrets: Mapping[str, WorkloadSecret] = field(default_factory=dict)
    policies: Sequence[iam.IManagedPolicy] = ()
    statements: Sequence[iam.PolicyStatement] = ()


def execution_api_url(namespace: str) -> str:
    """The URL at which functions in the VPC reach the Execution API of a control plane."""
    return f"http://{API_SERVER}.{namespace}:{API_PORT}{EXECUTION_PATH}/"


def execution_api_url_through(api: apigateway.IHttpApi) -> str:
    """The URL at which functions anywhere reach the Execution API behind an API Gateway."""
    return f"{api.api_endpoint}{EXECUTION_PATH}/"


class ControlPlane(Construct):
    """Api-server, scheduler, dag-processor and triggerer.

    The api-server comes first: it migrates the database to the version of the image, and the others
    are replaced once it is healthy.

    Attributes:
        admin_password: Secret with the password of the user `admin`.
        url: Where people open the UI.
        services: Each service by its name: one program each, or `airflow` with all of them.
        roles: What each program may do; programs of one task share a role.
        targets: The target group of the api-servers behind the load balancer, if there is one.
    """

    def __init__(self, scope: Construct, id: str, props: ControlPlaneProps) -> None:
        super().__init__(scope, id)
        self._props = props
        self.url = self._url()
        self.cluster = self._cluster()
        self.admin_password = self._secret("AdminPassword", "Password of the user admin", 24)
        signing_key = self._secret("SigningKey", "Signs the tokens of people and workloads", 64)
        self._around = Surroundings(
            cluster=self.cluster,
            subnets=props.subnets,
            public_addresses=props.public_addresses,
            spot=props.spot,
            security_groups=(self._security_group(), *self._carried()),
            log_group=logs.LogGroup(
                self,
                "Log",
                log_group_name=props.log_group_name,
                retention=props.log_retention,
                removal_policy=props.removal_policy,
                encryption_key=props.encryption_key,
            ),
            image=props.image,
            environment=self._environment(),
            secrets=self._secrets(signing_key),
            encryption_key=props.encryption_key,
        )
        programs = PROGRAMS if props.triggerers else PROGRAMS[:-1]
        if props.one_task:
            self.services = {"airflow": self._api_service("Airflow", programs, props.one_task)}
            self.roles = dict.fromkeys(programs, self.services["airflow"].role)
        else:
            self.services = self._a_service_each(programs)
            self.roles = {name: service.role for name, service in self.services.items()}
        self.targets = self._let_in()
        for service in self.services.values():
            permit(service.role, props.policies, props.statements)

    @property
    def api_service(self) -> AirflowService:
        """The service with the api-server."""
        return next(iter(self.services.values()))

    def _url(self) -> str:
        load_balancer, api_gateway = self._props.load_balancer, self._props.api_gateway
        if load_balancer:
            return load_balancer.url
        if api_gateway and api_gateway.serves_the_ui:
            return api_gateway.url
        return f"http://localhost:{API_PORT}"  # Through a tunnel.

    def _a_service_each(self, programs: Sequence[str]) -> dict[str, AirflowService]:
        props = self._props
        counts = {SCHEDULER: props.schedulers, DAG_PROCESSOR: 1, TRIGGERER: props.triggerers}
        services = {
            API_SERVER: self._api_service("ApiServer", [API_SERVER], props.sizes[API_SERVER])
        }
        for name in programs[1:]:
            service = AirflowService(
                self,
                in_ids(name),
                AirflowServiceProps(
                    programs=[self._program(name)],
                    size=props.sizes[name],
                    count=counts[name],
                    execute_command=props.execute_command and name == SCHEDULER,
                ),
                self._around,
            )
            # One after the other: a service that is replaced runs twice for a while, and all of
            # them at once would need twice the quota of vCPUs.
            service.node.add_dependency(list(services.values())[-1].service)
            services[name] = service
        return services

    def _api_service(self, id: str, programs: Sequence[str], size: TaskSize) -> AirflowService:
        """Make the service that has a name in the VPC and is reached from outside of it."""
        props = self._props
        namespace = servicediscovery.PrivateDnsNamespace(
            self, "Namespace", name=props.namespace, vpc=props.vpc
        )
        # A client in the VPC remembers for so long that the name does not exist, which is so while
        # no api-server runs.
        cast("cdk.CfnResource", namespace.node.default_child).add_property_override(
            "Properties.DnsProperties.SOA.TTL", _DNS_TTL.to_seconds()
        )
        # API Gateway needs the port too, which a record of another type has, under another name.
        by_port = props.api_gateway is not None
        service = AirflowService(
            self,
            id,
            AirflowServiceProps(
                programs=[self._program(name) for name in programs],
                size=size,
                count=props.api_servers,
                execute_command=props.execute_command,
                discovery=ecs.CloudMapOptions(
                    cloud_map_namespace=namespace,
                    name=f"{API_SERVER}-ports" if by_port else API_SERVER,
                    dns_record_type=servicediscovery.DnsRecordType.SRV if by_port else None,
                    container_port=API_PORT if by_port else None,
                    dns_ttl=_DNS_TTL,
                ),
                behind_load_balancer=props.load_balancer is not None,
            ),
            self._around,
        )
        # Whatever the service is called: a namespace has each name once, and CloudFormation makes a
        # resource of another logical id before it deletes the old one.
        entry = cast("servicediscovery.IService", service.service.cloud_map_service)
        cast("cdk.CfnResource", entry.node.default_child).override_logical_id(
            f"ApiServerDiscovery{self.node.addr[-8:].upper()}"
        )
        return service

    def _let_in(self) -> elb.ApplicationTargetGroup | None:
        """Lead the entrances to the api-servers."""
        props, service = self._props, self.api_service.service
        if props.api_gateway:
            props.api_gateway.lead_to(
                cast("servicediscovery.IService", service.cloud_map_service),
                execution_path=EXECUTION_PATH,
            )
        if props.load_balancer is None:
            return None
        targets = props.load_balancer.lead_to(
            service.load_balancer_target(container_name=API_SERVER, container_port=API_PORT),
            port=API_PORT,
            health_path=_HEALTH_PATH,
        )
        props.load_balancer.refuse(EXECUTION_PATH)
        return targets

    def _program(self, name: str) -> Program:
        ports = {API_SERVER: (API_PORT,), TRIGGERER: (_LOG_SERVER_PORT,)}
        password = ecs.Secret.from_secrets_manager(self.admin_password)
        return Program(
            name=name,
            command=COMMANDS[name],
            health_command=HEALTH_COMMANDS[name],
            secrets={names.ADMIN_PASSWORD: password} if name == API_SERVER else {},
            ports=ports.get(name, ()),
        )

    def _cluster(self) -> ecs.Cluster:
        cluster = ecs.Cluster(
            self,
            "Cluster",
            cluster_name=self._props.name,
            vpc=self._props.vpc,
            container_insights_v2=ecs.ContainerInsights.DISABLED,
            enable_fargate_capacity_providers=True,
        )
        acknowledge(
            cluster,
            ECS4="Container Insights creates a log group that outlives the stack, and charges by "
            "metric; ECS's own metrics of the services and Airflow's exist without it.",
        )
        return cluster

    def _security_group(self) -> ec2.SecurityGroup:
        props = self._props
        group = ec2.SecurityGroup(
            self,
            "SecurityGroup",
            vpc=props.vpc,
            description="Of the control plane",
            # DAG files and triggers run here, and may connect to anything.
            allow_all_outbound=True,
        )
        if props.functions:
            group.add_ingress_rule(
                props.functions, ec2.Port.tcp(API_PORT), "The Execution API from the functions"
            )
        if props.api_gateway:
            group.connections.allow_from(
                props.api_gateway.security_group,
                ec2.Port.tcp(API_PORT),
                "The Execution API through the API Gateway",
            )
        group.add_ingress_rule(
            group, ec2.Port.tcp(_LOG_SERVER_PORT), "The log server of the triggerer"
        )
        return group

    def _carried(self) -> tuple[ec2.ISecurityGroup, ...]:
        """The groups as immutable ones: the CDK does not add the services' rules to them."""
        return tuple(
            ec2.SecurityGroup.from_security_group_id(
                self, f"Carried{number}", group.security_group_id, mutable=False
            )
            for number, group in enumerate(self._props.carried)
        )

    def _secret(self, id: str, description: str, length: int) -> secretsmanager.Secret:
        secret = secretsmanager.Secret(
            self,
            id,
            description=f"{description}, {self._props.name}",
            encryption_key=self._props.encryption_key,
            generate_secret_string=secretsmanager.SecretStringGenerator(
                password_length=length, exclude_punctuation=True
            ),
            removal_policy=self._props.removal_policy,
        )
        acknowledge(
            secret,
            SMG4="Airflow reads the secret when it starts. A new value takes effect with the next "
            "deployment of the services; a rotation would cut people and workloads off until then.",
        )
        return secret

    def _environment(self) -> Mapping[str, str]:
        props = self._props
        return {
            **SETTINGS,
            **props.settings,
            "AIRFLOW__API__BASE_URL": self.url,
            "AIRFLOW__CORE__EXECUTION_API_SERVER_URL": (
                execution_api_url_through(props.api_gateway.api)
                if props.api_gateway
                else execution_api_url(props.namespace)
            ),
            names.DATABASE_HOST: props.database.host,
            names.DATABASE_PORT: props.database.port,
            names.DATABASE_NAME: props.database.name,
        }

    def _secrets(self, signing_key: secretsmanager.ISecret) -> Mapping[str, ecs.Secret]:
        reference = ecs.Secret.from_secrets_manager
        database = self._props.database
        return {
            **{name: reference(s.secret, s.json_key) for name, s in self._props.secrets.items()},
            names.DATABASE_USERNAME: reference(database.secret, "username"),
            names.DATABASE_PASSWORD: reference(database.secret, "password"),
            names.FERNET_KEY: reference(database.fernet_key),
            names.SIGNING_KEY: reference(signing_key),
        }
