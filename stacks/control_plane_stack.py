"""Airflow's own programs, for a stage without an existing Airflow.

Owns their settings and permissions. Any deploy may replace every resource here: Airflow keeps its
state in the database.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Mapping
from typing import cast

import aws_cdk as cdk
from aws_cdk import aws_apigatewayv2 as apigateway
from aws_cdk import aws_iam as iam
from aws_cdk import aws_logs as logs
from aws_cdk import aws_secretsmanager as secretsmanager
from constructs import Construct

from airflow_lambda_constructs.acknowledge import (
    acknowledge,
    shown,
)
from airflow_lambda_constructs.airflow.airflow_control_plane import (
    API_PORT,
    API_SERVER,
    DAG_PROCESSOR,
    PROGRAMS,
    SCHEDULER,
    TRIGGERER,
    ControlPlane,
    ControlPlaneProps,
    Database,
    execution_api_url,
    execution_api_url_through,
)
from airflow_lambda_constructs.airflow.airflow_service import TaskSize
from airflow_lambda_constructs.airflow.api_entrance import ApiEntrance, ApiEntranceProps
from airflow_lambda_constructs.airflow.entrance import Entrance, EntranceProps
from airflow_lambda_constructs.airflow.office_hours import OfficeHours, OfficeHoursProps
from airflow_lambda_constructs.execution.permissions import read_log
from airflow_lambda_constructs.execution.target import log_group_name
from airflow_lambda_constructs.observability.watched import WatchedControlPlane, WatchedTargets
from lambda_executor.contract.api_server import max_overflow_for
from lambda_executor.contract.token_lifetime import token_lifetime_option
from stacks.config.sections.control_plane import ControlPlaneConfig
from stacks.database_stack import DatabaseStack
from stacks.execution_stack import ExecutionStack
from stacks.network_stack import NetworkStack
from stacks.stage.image import StageImage
from stacks.stage.names import prefix
from stacks.stage.permissions import managed_policies, policy_statements, workload_secrets
from stacks.stage.stage_stack import Stage, StageStack
from stacks.storage_stack import StorageStack
from stacks.wiring.forms import (
    dag_settings,
    executor_settings,
    remote_logging_settings,
    secrets_settings,
)


class ControlPlaneStack(StageStack):
    """Api-server, scheduler, dag-processor and triggerer on Fargate, and the way to them."""

    def __init__(  # noqa: PLR0913 - the config and what other stacks made
        self,
        scope: Construct,
        stage: Stage,
        *,
        network: NetworkStack,
        database: DatabaseStack,
        execution: ExecutionStack,
        image: StageImage,
        storage: StorageStack | None,
        synthesizer: cdk.IStackSynthesizer | None,
    ) -> None:
        super().__init__(
            scope,
            "control-plane",
            stage,
            description="Airflow's own programs",
            synthesizer=synthesizer,
        )
        config = stage.config
        settings = config.control_plane
        self.load_balancer = self._load_balancer(network)
        self.subnets = (
            network.public_subnets if settings.public_addresses else network.private_subnets
        )
        self.control_plane = ControlPlane(
            self,
            "ControlPlane",
            ControlPlaneProps(
                name=stage.prefix,
                namespace=namespace(stage.name),
                vpc=network.vpc,
                subnets=self.subnets,
                public_addresses=settings.public_addresses,
                spot=settings.spot,
                functions=network.function_security_group,
                carried=network.with_endpoints(network.database_clients),
                load_balancer=self.load_balancer,
                api_gateway=self._api_gateway(network),
                database=Database(
                    host=database.database.host,
                    port=database.database.port,
                    name=config.database.name,
                    secret=database.database.secret,
                    # A stage with a control plane has the key.
                    fernet_key=cast("secretsmanager.ISecret", database.fernet_key),
                ),
                image=image.container(self, config.default_function.architecture),
                one_task=_size(settings) if settings.one_task else None,
                sizes={name: _size(settings, name) for name in PROGRAMS},
                api_servers=settings.api_servers,
                schedulers=settings.schedulers,
                triggerers=settings.triggerers,
                execute_command=settings.execute_command,
                settings=self._settings(execution, storage),
                log_group_name=stage.path("control-plane"),
                log_retention=stage.log_retention,
                removal_policy=self.removal,
                encryption_key=self.key,
                secrets=workload_secrets(self, "Of-airflow", settings.secrets),
                policies=managed_policies(self, "Of-airflow", settings.policies),
                statements=policy_statements(settings.statements),
            ),
        )
        self._permit(execution, storage)
        self._keep_office_hours(database)
        self.output("AirflowUrl", self.control_plane.url)
        self.output(
            "AdminPasswordCommand",
            f"aws secretsmanager get-secret-value --region {self.region} --secret-id "
            f"{self.control_plane.admin_password.secret_arn} --query SecretString --output text",
            "Prints the password of the user admin",
        )
        if settings.execute_command:
            self._output_commands()

    def _output_commands(self) -> None:
        # https://docs.aws.amazon.com/AmazonECS/latest/developerguide/ecs-exec.html
        where = f"--region {self.region} --cluster {self.stage.prefix}"
        services = self.control_plane.services
        with_scheduler = services.get(SCHEDULER, self.control_plane.api_service).service
        self.output(
            "SchedulerTaskCommand",
            f"aws ecs list-tasks {where} --service-name {with_scheduler.service_name} "
            "--query 'taskArns[0]' --output text",
            "Prints the task for commands in a scheduler's container",
        )
        service = self.control_plane.api_service.service.service_name
        self.output(
            "TunnelCommand",
            f"task=$(aws ecs list-tasks {where} --service-name {service} "
            "--query 'taskArns[0]' --output text); "
            f"container=$(aws ecs describe-tasks {where} --tasks $task --query "
            f"\"tasks[0].containers[?name=='{API_SERVER}'].runtimeId\" --output text); "
            f"aws ssm start-session --region {self.region} "
            f"--target ecs:{self.stage.prefix}_${{task##*/}}_$container "
            "--document-name AWS-StartPortForwardingSession "
            f"--parameters portNumber={API_PORT},localPortNumber={API_PORT}",
            f"Then Airflow is at http://localhost:{API_PORT}",
        )

    def _load_balancer(self, network: NetworkStack) -> Entrance | None:
        settings = self.config.control_plane
        if settings.entrance != "load_balancer":
            return None
        return Entrance(
            self,
            "Entrance",
            EntranceProps(
                vpc=network.vpc,
                on_the_internet=settings.on_the_internet,
                subnets=(
                    network.public_subnets if settings.on_the_internet else network.private_subnets
                ),
                allowed_cidrs=[*network.cidrs, *settings.allowed_cidrs],
                certificate_arn=settings.certificate_arn,
                domain_name=settings.domain_name,
            ),
        )

    def _api_gateway(self, network: NetworkStack) -> ApiEntrance | None:
        if network.api is None:
            return None
        props = ApiEntranceProps(
            api=network.api,
            vpc=network.vpc,
            subnets=self.subnets,
            ui=self.config.control_plane.on_the_internet,
        )
        return ApiEntrance(self, "ApiGateway", props)

    def _keep_office_hours(self, database: DatabaseStack) -> None:
        hours = self.config.control_plane.office_hours
        if hours.opens is None or hours.closes is None:
            return
        settings = self.config.control_plane
        counts = {
            API_SERVER: settings.api_servers,
            SCHEDULER: settings.schedulers,
            TRIGGERER: settings.triggerers,
        }
        OfficeHours(
            self,
            "OfficeHours",
            OfficeHoursProps(
                opens=dt.time.fromisoformat(hours.opens),
                closes=dt.time.fromisoformat(hours.closes),
                days=hours.days,
                time_zone=cdk.TimeZone.of(hours.time_zone),
                cluster=self.control_plane.cluster,
                services=[
                    (service.service, counts.get(name, 1))
                    for name, service in self.control_plane.services.items()
                ],
                database=database.database.instance,
            ),
        )

    def _settings(
        self, execution: ExecutionStack, storage: StorageStack | None
    ) -> Mapping[str, str]:
        settings = self.config.execution
        workloads = settings.parallelism * self.config.control_plane.schedulers
        lifetime = token_lifetime_option(self.config.image.airflow_version)
        return {
            # Before Airflow 3.2 an option of its own. Whoever brings an image may have to set it.
            lifetime.environment_variable: str(settings.task_queued_timeout_s),
            **self.config.control_plane.environment,
            **executor_settings(execution.executor_environment.config_parameter.parameter_name),
            **remote_logging_settings(storage.remote_log_folder if storage else None),
            **secrets_settings(self.stage.name),
            **dag_settings(self.config, storage.dags_uri if storage else None),
            "AIRFLOW__CORE__PARALLELISM": str(settings.parallelism),
            "AIRFLOW__DATABASE__SQL_ALCHEMY_MAX_OVERFLOW": str(max_overflow_for(workloads)),
            "AIRFLOW__SCHEDULER__TASK_QUEUED_TIMEOUT": str(settings.task_queued_timeout_s),
            "AWS_DEFAULT_REGION": self.region,
        }

    @property
    def watched(self) -> WatchedControlPlane:
        """The services as dashboard and alarms need them."""
        services = self.control_plane.services
        balancer, targets = self.load_balancer, self.control_plane.targets
        return WatchedControlPlane(
            services={name: service.service for name, service in services.items()},
            api_servers=(
                WatchedTargets(load_balancer=balancer.load_balancer, targets=targets)
                if balancer and targets
                else None
            ),
        )

    def _permit(self, execution: ExecutionStack, storage: StorageStack | None) -> None:
        roles = self.control_plane.roles
        environment = execution.executor_environment
        roles[SCHEDULER].add_managed_policy(environment.scheduler_policy)
        # Programs of one task share a role, and a role takes a policy once.
        others = {role.node.path: role for name, role in roles.items() if name != SCHEDULER}
        for role in others.values():
            role.add_managed_policy(execution.secrets_policy)
        api_server = roles[API_SERVER]
        api_server.add_managed_policy(environment.page_policy)
        self._let_it_read_logs_of_running_tasks(api_server)
        if storage and storage.task_logs:
            storage.task_logs.grant_read(api_server)
            if TRIGGERER in roles:
                storage.task_logs.grant_write_of_triggers(roles[TRIGGERER])
        if storage and storage.dags:
            storage.dags.grant_read(roles[DAG_PROCESSOR])

    def _let_it_read_logs_of_running_tasks(self, api_server: iam.IRole) -> None:
        """Of each function and target, by their names: no export holds the log groups."""
        names = {
            f.name: f"/aws/lambda/{self.stage.function_name(f)}" for f in self.config.functions
        }
        names |= {
            f"target-{target.name}": log_group_name(self.stage.prefix, target.kind, target.name)
            for target in self.config.targets
        }
        for id, name in names.items():
            log_group = logs.LogGroup.from_log_group_name(self, f"Log-{id}", name)
            read_log(log_group, api_server)
            finding = f"IAM5[Resource::{shown(self, log_group.log_group_arn)}]"
            reason = "The streams of one log group, whose names AWS chooses."
            acknowledge(api_server, **{finding: reason})


def _size(settings: ControlPlaneConfig, program: str | None = None) -> TaskSize:
    """Return the size of a program's task, or of the task with all programs."""
    size = settings.size_of(program)
    return TaskSize(cpu=size.cpu, memory_mb=size.memory_mb)


def namespace(stage: str) -> str:
    """The domain of a stage's services, known inside its VPC only."""
    return f"{prefix(stage)}.internal"


def own_execution_api_url(stage: str, api: apigateway.IHttpApi | None) -> str:
    """The URL at which a stage's functions reach the Execution API of its own control plane."""
    return execution_api_url_through(api) if api else execution_api_url(namespace(stage))
