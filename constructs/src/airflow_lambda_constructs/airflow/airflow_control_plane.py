"""Airflow's own programs as Fargate services, and how people and functions reach them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import aws_cdk as cdk
from aws_cdk import aws_ec2 as ec2
from aws_cdk import aws_ecs as ecs
from aws_cdk import aws_iam as iam
from aws_cdk import aws_kms as kms
from aws_cdk import aws_logs as logs
from aws_cdk import aws_secretsmanager as secretsmanager
from aws_cdk import aws_servicediscovery as servicediscovery
from constructs import Construct

from airflow_lambda_constructs.acknowledge import acknowledge
from airflow_lambda_constructs.airflow.airflow_service import (
    ENTRY_POINT,
    AirflowImage,
    AirflowService,
    AirflowServiceProps,
    Surroundings,
)
from airflow_lambda_constructs.airflow.entrance import Entrance
from airflow_lambda_constructs.execution.permissions import WorkloadSecret, permit
from lambda_executor.contract import names

API_SERVER = "api-server"
API_PORT = 8080
#: Airflow's default port for the log server of the triggerer.
_LOG_SERVER_PORT = 8794
_HEALTH_PATH = "/api/v2/monitor/health"
_EXECUTION_PATH = "/execution"

#: A program with a port is asked there. The other two have none, and Airflow's own command asks the
#: database.
HEALTH_COMMANDS: Mapping[str, tuple[str, ...]] = {
    API_SERVER: (
        "python",
        "-c",
        (
            "import json, urllib.request as r; "
            f"h = json.load(r.urlopen('http://127.0.0.1:{API_PORT}{_HEALTH_PATH}', timeout=30)); "
            "exit(h['metadatabase']['status'] != 'healthy')"
        ),
    ),
    "scheduler": (
        "python",
        "-c",
        "import urllib.request as r; r.urlopen('http://127.0.0.1:8974/health', timeout=30)",
    ),
    "dag-processor": (*ENTRY_POINT, "jobs", "check", "--job-type", "DagProcessorJob", "--local"),
    "triggerer": (*ENTRY_POINT, "jobs", "check", "--job-type", "TriggererJob", "--local"),
}

#: Settings that every Airflow in this control plane needs.
SETTINGS: Mapping[str, str] = {
    # Replaces the image's callable, which is for execution environments. The api-server asks the
    # triggerer for logs under this name, and `jobs check --local` looks for it.
    "AIRFLOW__CORE__HOSTNAME_CALLABLE": "airflow.utils.net.get_host_ip_address",
    "AIRFLOW__API__PORT": str(API_PORT),
    "AIRFLOW__API__WORKERS": "1",
    "AIRFLOW__SCHEDULER__ENABLE_HEALTH_CHECK": "True",
    # Airflow's 1 s is long for a short task: docs/decisions/0025-the-schedulers-sleep.md
    "AIRFLOW__SCHEDULER__SCHEDULER_IDLE_SLEEP_TIME": "0.25",
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
        functions: Security group of the functions, which call the Execution API.
        carried: Security groups that let the services reach other resources, such as the database.
        cpu: CPU units of each service.
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
    functions: ec2.ISecurityGroup
    carried: Sequence[ec2.ISecurityGroup]
    entrance: Entrance
    database: Database
    image: AirflowImage
    cpu: int
    memory_mb: int
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
    return f"http://{API_SERVER}.{namespace}:{API_PORT}{_EXECUTION_PATH}/"


class ControlPlane(Construct):
    """Api-server, scheduler, dag-processor and triggerer.

    The api-server is deployed first: it migrates the database to the version of the image, and the
    others are replaced once it is healthy.

    Attributes:
        admin_password: Secret with the password of the user `admin`.
        services: Each service by Airflow's name of the program.
        targets: The target group of the api-servers behind the load balancer.
    """

    def __init__(self, scope: Construct, id: str, props: ControlPlaneProps) -> None:
        super().__init__(scope, id)
        self._props = props
        self.cluster = self._cluster()
        self.admin_password = self._secret("AdminPassword", "Password of the user admin", 24)
        signing_key = self._secret("SigningKey", "Signs the tokens of people and workloads", 64)
        self._around = Surroundings(
            cluster=self.cluster,
            subnets=props.subnets,
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
            cpu=props.cpu,
            memory_mb=props.memory_mb,
            environment=self._environment(),
            secrets=self._secrets(signing_key),
        )
        self.services = {API_SERVER: self._api_server()}
        counts = {"scheduler": props.schedulers, "dag-processor": 1, "triggerer": props.triggerers}
        for name, count in counts.items():
            if count:
                self.services[name] = self._service(name, count)
                self.services[name].node.add_dependency(self.services[API_SERVER].service)
        for service in self.services.values():
            permit(service.role, props.policies, props.statements)

    def _api_server(self) -> AirflowService:
        props = self._props
        namespace = servicediscovery.PrivateDnsNamespace(
            self, "Namespace", name=props.namespace, vpc=props.vpc
        )
        api_server = AirflowService(
            self,
            "ApiServer",
            AirflowServiceProps(
                command=(API_SERVER, "--proxy-headers"),
                health_command=HEALTH_COMMANDS[API_SERVER],
                count=props.api_servers,
                secrets={
                    names.ADMIN_PASSWORD: ecs.Secret.from_secrets_manager(self.admin_password)
                },
                ports=(API_PORT,),
                first=("db", "migrate"),
                execute_command=props.execute_command,
                discovery=ecs.CloudMapOptions(
                    cloud_map_namespace=namespace,
                    name=API_SERVER,
                    dns_ttl=cdk.Duration.seconds(10),
                ),
                behind_load_balancer=True,
            ),
            self._around,
        )
        self.targets = props.entrance.lead_to(
            api_server.service, port=API_PORT, health_path=_HEALTH_PATH
        )
        props.entrance.refuse(_EXECUTION_PATH)
        return api_server

    def _service(self, name: str, count: int) -> AirflowService:
        return AirflowService(
            self,
            name.title().replace("-", ""),
            AirflowServiceProps(
                command=(name,),
                health_command=HEALTH_COMMANDS[name],
                count=count,
                ports=(_LOG_SERVER_PORT,) if name == "triggerer" else (),
                execute_command=self._props.execute_command and name == "scheduler",
            ),
            self._around,
        )

    def _cluster(self) -> ecs.Cluster:
        cluster = ecs.Cluster(
            self,
            "Cluster",
            cluster_name=self._props.name,
            vpc=self._props.vpc,
            container_insights_v2=ecs.ContainerInsights.DISABLED,
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
        group.add_ingress_rule(
            props.functions, ec2.Port.tcp(API_PORT), "The Execution API from the functions"
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
            "AIRFLOW__API__BASE_URL": props.entrance.url,
            "AIRFLOW__CORE__EXECUTION_API_SERVER_URL": execution_api_url(props.namespace),
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
