"""The VPC and who may talk to whom in it.

Owns subnets and security groups, the connections between them included. It must not know what is
put into the subnets.
"""

from __future__ import annotations

import aws_cdk as cdk
from aws_cdk import aws_ec2 as ec2
from aws_cdk import aws_logs as logs
from constructs import Construct

from stacks.acknowledge import acknowledge
from stacks.config import MOST_AZS, StageConfig
from stacks.stage import StageStack

_POSTGRES = ec2.Port.tcp(5432)


class NetworkStack(StageStack):
    """A VPC with isolated subnets, and subnets with a way out only where one is paid for.

    Attributes:
        vpc: The VPC.
        database_security_group: Of the database; lets `database_clients` in and nobody else.
        database_clients: Carried by whatever needs the database.
        function_security_group: Of the function; None: it runs outside the VPC.
    """

    def __init__(self, scope: Construct, *, stage: str, config: StageConfig) -> None:
        super().__init__(
            scope, "network", stage=stage, config=config, description="the VPC and its connections"
        )
        network = config.network
        self.vpc = ec2.Vpc(
            self,
            "Vpc",
            ip_addresses=ec2.IpAddresses.cidr(network.cidr),
            availability_zones=[cdk.Fn.select(i, cdk.Fn.get_azs()) for i in range(network.max_azs)],
            reserved_azs=MOST_AZS - network.max_azs,
            nat_gateways=network.nat_gateways,
            subnet_configuration=_subnets(with_a_way_out=network.nat_gateways > 0),
            # Would bring a custom resource, whose function and log group outlive the stack. Nothing
            # is put into the default security group.
            restrict_default_security_group=False,
        )
        if network.flow_logs:
            self._log_flows(stage)
        else:
            acknowledge(self.vpc, VPC7="Flow logs are for stages with data worth an audit trail.")

        self.database_clients = self._security_group(
            "DatabaseClients", "Carried by what needs the database"
        )
        self.database_security_group = self._security_group("Database", "Of the database")
        self.database_security_group.connections.allow_from(
            self.database_clients, _POSTGRES, "Postgres from its clients"
        )
        self.function_security_group = (
            # Workloads talk to whatever their authors name.
            self._security_group("Function", "Of the function", allow_all_outbound=True)
            if network.function_in_vpc
            else None
        )
        cdk.CfnOutput(
            self,
            "DatabaseClientsSecurityGroupId",
            value=self.database_clients.security_group_id,
            description="Security group to give to an Airflow that uses the database",
        )

    def _security_group(
        self,
        id: str,
        description: str,
        *,
        allow_all_outbound: bool = False,
    ) -> ec2.SecurityGroup:
        return ec2.SecurityGroup(
            self,
            id,
            vpc=self.vpc,
            description=description,
            allow_all_outbound=allow_all_outbound,
        )

    def _log_flows(self, stage: str) -> None:
        log_group = logs.LogGroup(
            self,
            "FlowLogs",
            log_group_name=f"/airflow-lambda/{stage}/flow-logs",
            retention=logs.RetentionDays.ONE_MONTH,
            removal_policy=self.removal,
        )
        self.vpc.add_flow_log(
            "FlowLog", destination=ec2.FlowLogDestination.to_cloud_watch_logs(log_group)
        )


def _subnets(*, with_a_way_out: bool) -> list[ec2.SubnetConfiguration]:
    """All kinds in all zones, those not needed yet as reserved address ranges.

    So no later change of the configuration moves the subnets that the database is in.
    """
    kinds = {
        "Isolated": (ec2.SubnetType.PRIVATE_ISOLATED, True),
        "Public": (ec2.SubnetType.PUBLIC, with_a_way_out),
        "Private": (ec2.SubnetType.PRIVATE_WITH_EGRESS, with_a_way_out),
    }
    return [
        ec2.SubnetConfiguration(name=name, subnet_type=kind, reserved=not needed)
        for name, (kind, needed) in kinds.items()
    ]
