"""The VPC: subnets, routes to the outside, security groups and the connections between them."""

from __future__ import annotations

import aws_cdk as cdk
import jsii
from aws_cdk import aws_ec2 as ec2
from aws_cdk import aws_logs as logs
from constructs import Construct

from airflow_lambda_constructs.acknowledge import acknowledge
from airflow_lambda_constructs.airflow.api_entrance import http_api
from airflow_lambda_constructs.airflow.service_endpoints import ServiceEndpoints
from airflow_lambda_constructs.execution.target import TargetNetwork
from stacks.config import MOST_AZS, StageConfig
from stacks.stage.stage_stack import Stage, StageStack

_POSTGRES = ec2.Port.tcp(5432)
_ISOLATED, _PUBLIC, _PRIVATE = "Isolated", "Public", "Private"


class NetworkStack(StageStack):
    """A new VPC, or an existing one to which only security groups are added.

    A new VPC has a route to the outside only if the stage pays for NAT gateways or endpoints.

    Attributes:
        private_subnets: They have a route to AWS services.
        cidrs: Address ranges of the VPC; empty for an existing one.
        database_security_group: Lets `database_clients` and the proxy in.
        database_clients: Security group of everything that needs the database.
        proxy_security_group: Lets the functions in; None: there is no proxy.
        rotation_security_group: None: the password is not rotated.
        function_security_group: None: the functions run outside the VPC.
        container_security_group: Of the targets that run containers; None: there are none.
        endpoint_clients: Security group of everything that uses the VPC's endpoints, if any.
        api: The API Gateway whose address the functions are told; None: there is none.
    """

    def __init__(self, scope: Construct, stage: Stage) -> None:
        super().__init__(scope, "network", stage, description="the VPC and its connections")
        self.isolated_subnets = ec2.SubnetSelection(subnet_group_name=_ISOLATED)
        self.private_subnets = ec2.SubnetSelection(subnet_group_name=_PRIVATE)
        self.public_subnets = ec2.SubnetSelection(subnet_group_name=_PUBLIC)
        config = stage.config
        network = config.network
        self.vpc = self._existing_vpc() if network.vpc_id else self._new_vpc()
        endpoints = None if network.vpc_id else ServiceEndpoints(self, "Endpoints", vpc=self.vpc)
        self.cidrs = [] if network.vpc_id else [network.cidr]
        self.database_clients = self._security_group(
            "DatabaseClients", "Carried by what needs the database"
        )
        self.function_security_group = (
            # Workloads may connect to anything.
            self._security_group("Function", "Of the functions", allow_all_outbound=True)
            if network.function_in_vpc
            else None
        )
        self.container_security_group = self._containers()
        self.database_security_group = self._security_group("Database", "Of the database")
        self.database_security_group.connections.allow_from(
            self.database_clients, _POSTGRES, "Postgres from its clients"
        )
        self.proxy_security_group = self._proxy() if config.database.proxy else None
        self.rotation_security_group = self._rotation() if config.database.rotation_days else None
        self.endpoint_clients = self._close(endpoints) if endpoints and network.endpoints else None
        # Here, because the functions are told its address before there is a control plane.
        self.api = http_api(self, "Api", name=stage.prefix) if config.has_api_gateway else None
        self.output(
            "DatabaseClientsSecurityGroupId",
            self.database_clients.security_group_id,
            "Security group to give to an Airflow that uses the database",
        )

    @property
    @jsii.member(jsii_name="availabilityZones")
    def availability_zones(self) -> list[str]:
        """The zones, resolved at deploy; for a pinned Region the CDK would ask AWS at synth."""
        return [cdk.Fn.select(i, cdk.Fn.get_azs()) for i in range(MOST_AZS)]

    @property
    def of_containers(self) -> TargetNetwork | None:
        """Where the targets that run containers are; None: there are none."""
        if self.container_security_group is None:
            return None
        public = self.config.containers_have_public_addresses
        return TargetNetwork(
            vpc=self.vpc,
            subnets=self.public_subnets if public else self.private_subnets,
            public_addresses=public,
            security_groups=self.with_endpoints(self.container_security_group),
        )

    @property
    def of_micro_vms(self) -> TargetNetwork | None:
        """Where MicroVMs are: with the functions; None: those are outside the VPC."""
        if self.function_security_group is None:
            return None
        return TargetNetwork(
            vpc=self.vpc,
            subnets=self.private_subnets,
            public_addresses=False,
            security_groups=self.with_endpoints(self.function_security_group),
        )

    def with_endpoints(self, *groups: ec2.ISecurityGroup) -> tuple[ec2.ISecurityGroup, ...]:
        """Return the groups together with the one that the endpoints let in, if there is one."""
        return (*groups, self.endpoint_clients) if self.endpoint_clients else groups

    def _new_vpc(self) -> ec2.IVpc:
        network = self.config.network
        vpc = ec2.Vpc(
            self,
            "Vpc",
            ip_addresses=ec2.IpAddresses.cidr(network.cidr),
            availability_zones=self.availability_zones[: network.max_azs],
            reserved_azs=MOST_AZS - network.max_azs,
            nat_gateways=network.nat_gateways,
            subnet_configuration=_subnets(self.config),
            # Restricting it needs a custom resource, whose log group outlives the stack. Nothing
            # uses the default security group.
            restrict_default_security_group=False,
        )
        if network.flow_logs:
            self._log_flows(vpc)
        else:
            acknowledge(
                vpc, VPC7="Flow logs cost money: the stage enables them by network.flow_logs."
            )
        return vpc

    def _existing_vpc(self) -> ec2.IVpc:
        """The VPC as the configuration describes it; a mistake is found at deploy."""
        network = self.config.network
        vpc = ec2.Vpc.from_vpc_attributes(
            self,
            "Vpc",
            vpc_id=str(network.vpc_id),
            availability_zones=network.availability_zones,
            private_subnet_ids=network.private_subnet_ids or None,
            isolated_subnet_ids=network.isolated_subnet_ids or None,
            public_subnet_ids=network.public_subnet_ids or None,
        )
        cdk.Annotations.of(vpc).acknowledge_warning(
            "@aws-cdk/aws-ec2:noSubnetRouteTableId", "No route of an existing VPC is changed."
        )
        return vpc

    def _containers(self) -> ec2.SecurityGroup | None:
        """The functions' group where there is one: workloads reach the same from everywhere."""
        if not self.config.has_containers:
            return None
        return self.function_security_group or self._security_group(
            "Containers", "Of the targets that run containers", allow_all_outbound=True
        )

    def _proxy(self) -> ec2.SecurityGroup:
        group = self._security_group("DatabaseProxy", "Of the proxy of the database")
        if self.function_security_group:
            group.connections.allow_from(
                self.function_security_group, _POSTGRES, "Postgres from the functions"
            )
        clients = self.database_security_group.connections
        clients.allow_from(group, _POSTGRES, "Postgres from its proxy")
        return group

    def _rotation(self) -> ec2.SecurityGroup:
        group = self._security_group("Rotation", "Of what changes the password of the database")
        group.add_egress_rule(ec2.Peer.any_ipv4(), ec2.Port.HTTPS, "Secrets Manager")
        return group

    def _close(self, endpoints: ServiceEndpoints) -> ec2.SecurityGroup:
        """Make an endpoint for each service that the stage calls; each is charged by the hour."""
        config = self.config
        clients = self._security_group("EndpointClients", "Carried by what calls AWS from inside")
        control_plane = config.control_plane.kind == "fargate"
        containers = config.has_containers
        instances = any(t.kind == "batch" and t.is_on_ec2 for t in config.targets)
        wanted = {
            "Sqs": config.network.function_in_vpc or control_plane or containers,
            "Logs": control_plane or containers or config.logs.remote == "cloudwatch",
            "SecretsManager": control_plane
            or config.database.rotation_days is not None
            or config.secrets_are_fetched_inside,
            "Ssm": control_plane,
            "SsmMessages": control_plane and config.control_plane.execute_command,
            "Lambda": control_plane,
            "EcrApi": control_plane or containers,
            "EcrDocker": control_plane or containers,
            "Sts": control_plane,  # The doctor asks who it is.
            # The scheduler starts jobs.
            "Batch": control_plane and any(t.kind == "batch" for t in config.targets),
            "Ecs": instances or (control_plane and any(t.kind == "ecs" for t in config.targets)),
            # The agent on an instance.
            "EcsAgent": instances,
            "EcsTelemetry": instances,
        }
        endpoints.close(
            subnets=self.private_subnets,
            clients=clients,
            services=[name for name, is_wanted in wanted.items() if is_wanted],
        )
        return clients

    def _security_group(
        self, id: str, description: str, *, allow_all_outbound: bool = False
    ) -> ec2.SecurityGroup:
        return ec2.SecurityGroup(
            self,
            id,
            vpc=self.vpc,
            description=description,
            allow_all_outbound=allow_all_outbound,
        )

    def _log_flows(self, vpc: ec2.Vpc) -> None:
        log_group = logs.LogGroup(
            self,
            "FlowLogs",
            log_group_name=self.stage.path("flow-logs"),
            retention=self.stage.log_retention,
            removal_policy=self.removal,
            encryption_key=self.key,
        )
        vpc.add_flow_log(
            "FlowLog", destination=ec2.FlowLogDestination.to_cloud_watch_logs(log_group)
        )


def _subnets(config: StageConfig) -> list[ec2.SubnetConfiguration]:
    # Kinds that are not needed yet reserve addresses: no later change moves the database's subnets.
    network = config.network
    private = (
        ec2.SubnetType.PRIVATE_WITH_EGRESS
        if network.nat_gateways
        else ec2.SubnetType.PRIVATE_ISOLATED
    )
    kinds = {
        _ISOLATED: (ec2.SubnetType.PRIVATE_ISOLATED, True),
        _PUBLIC: (ec2.SubnetType.PUBLIC, network.nat_gateways > 0 or config.needs_public_subnets),
        _PRIVATE: (private, network.nat_gateways > 0 or network.endpoints),
    }
    return [
        ec2.SubnetConfiguration(name=name, subnet_type=kind, reserved=not needed)
        for name, (kind, needed) in kinds.items()
    ]
