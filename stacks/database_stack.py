"""Airflow's metadata database: the stack that is never replaced.

It must not know who uses the database; the network's security groups decide that.
"""

from __future__ import annotations

import aws_cdk as cdk
from aws_cdk import aws_ec2 as ec2
from aws_cdk import aws_rds as rds
from aws_cdk import aws_secretsmanager as secretsmanager
from constructs import Construct

from airflow_lambda_constructs.acknowledge import acknowledge
from airflow_lambda_constructs.airflow.airflow_database import (
    AirflowDatabase,
    AirflowDatabaseProps,
    ConnectionProxy,
    PasswordRotation,
)
from airflow_lambda_constructs.observability.watched import WatchedDatabase
from stacks.config import PASSWORD_ROTATION
from stacks.network_stack import NetworkStack
from stacks.stage.stage_stack import Stage, StageStack


class DatabaseStack(StageStack):
    """RDS Postgres in the isolated subnets of the VPC.

    Args:
        network: Where the database is, and who may reach it.

    Attributes:
        fernet_key: What Airflow encrypts connections and variables in it with; None: an Airflow
            that is somewhere else has its own.
    """

    def __init__(self, scope: Construct, stage: Stage, *, network: NetworkStack) -> None:
        super().__init__(scope, "database", stage, description="Airflow's metadata database")
        settings = stage.config.database
        self.database = AirflowDatabase(
            self,
            "Database",
            AirflowDatabaseProps(
                vpc=network.vpc,
                subnets=network.isolated_subnets,
                security_group=self._as_it_is(network.database_security_group),
                version=rds.PostgresEngineVersion.of(
                    settings.postgres_version, settings.postgres_version
                ),
                instance_type=ec2.InstanceType(settings.instance_class.removeprefix("db.")),
                storage_gb=settings.storage_gb,
                database_name=settings.name,
                multi_az=settings.multi_az,
                backup_retention=cdk.Duration.days(settings.backup_days),
                deletion_protection=settings.deletion_protection,
                removal_policy=self.removal,
                encryption_key=self.key,
                rotation=self._rotation(network),
                proxy=self._proxy(network),
            ),
        )
        self.fernet_key = (
            self._fernet_key() if self.config.control_plane.kind == "fargate" else None
        )
        self._acknowledge_choices()
        self._outputs()

    @property
    def watched(self) -> WatchedDatabase:
        """What tells how the database fares."""
        return WatchedDatabase(
            instance=self.database.instance, storage_gb=self.config.database.storage_gb
        )

    def _rotation(self, network: NetworkStack) -> PasswordRotation | None:
        days, group = self.config.database.rotation_days, network.rotation_security_group
        if days is None or group is None:
            return None
        return PasswordRotation(
            every=cdk.Duration.days(days),
            function_name=f"{self.stage.prefix}-{PASSWORD_ROTATION}",
            subnets=network.private_subnets,
            security_groups=network.with_endpoints(network.database_clients, group),
            log_retention=self.stage.log_retention,
        )

    def _proxy(self, network: NetworkStack) -> ConnectionProxy | None:
        group = network.proxy_security_group
        if group is None:
            return None
        return ConnectionProxy(
            name=self.stage.prefix,
            security_group=group,
            log_retention=self.stage.log_retention,
        )

    def _fernet_key(self) -> secretsmanager.Secret:
        """It lives as long as what is encrypted with it."""
        key = secretsmanager.Secret(
            self,
            "FernetKey",
            description=f"Encrypts connections and variables in the database, {self.stage.prefix}",
            encryption_key=self.key,
            generate_secret_string=secretsmanager.SecretStringGenerator(
                password_length=64, exclude_punctuation=True
            ),
            removal_policy=self.removal,
        )
        acknowledge(
            key,
            SMG4="A new key reads nothing that the old one wrote: a person changes it, in the "
            "steps of docs/howto/control-plane.md.",
        )
        return key

    def _as_it_is(self, group: ec2.ISecurityGroup) -> ec2.ISecurityGroup:
        """A group whose rules are the network's: the CDK would add the proxy's from here."""
        return ec2.SecurityGroup.from_security_group_id(
            self, "SecurityGroup", group.security_group_id, mutable=False
        )

    def _acknowledge_choices(self) -> None:
        settings = self.config.database
        if not settings.multi_az:
            acknowledge(
                self.database, RDS3="A standby is chosen by database.multi_az of the stage."
            )
        if not settings.backup_days:
            acknowledge(
                self.database, RDS13="Backups are chosen by database.backup_days of the stage."
            )
        if not settings.deletion_protection:
            acknowledge(
                self.database,
                RDS10="Protection is chosen by database.deletion_protection of the stage.",
            )

    def _outputs(self) -> None:
        cdk.CfnOutput(self, "DatabaseHost", value=self.database.host)
        cdk.CfnOutput(self, "DatabasePort", value=self.database.port)
        cdk.CfnOutput(self, "DatabaseName", value=self.config.database.name)
        cdk.CfnOutput(
            self,
            "DatabaseSecretArn",
            value=self.database.secret.secret_arn,
            description="Secret with username, password, host, port and dbname",
        )
        if self.database.proxy:
            cdk.CfnOutput(
                self,
                "DatabaseProxyHost",
                value=self.database.proxy.endpoint,
                description="For workloads that open connections of their own; port 5432, TLS only",
            )
