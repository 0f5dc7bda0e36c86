"""Airflow's metadata database, in the stack that is never replaced.

The network's security groups decide who reaches the database.
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
    """RDS Postgres in the isolated subnets, and the Fernet key of the stage's own Airflow."""

    def __init__(self, scope: Construct, stage: Stage, *, network: NetworkStack) -> None:
        super().__init__(scope, "database", stage, description="Airflow's metadata database")
        settings = stage.config.database
        self.database = AirflowDatabase(
            self,
            "Database",
            AirflowDatabaseProps(
                vpc=network.vpc,
                subnets=network.isolated_subnets,
                security_group=self._as_it_is("SecurityGroup", network.database_security_group),
                version=rds.PostgresEngineVersion.of(
                    settings.postgres_version, settings.postgres_version
                ),
                instance_type=ec2.InstanceType(settings.instance_class.removeprefix("db.")),
                storage_gb=settings.storage_gb,
                max_storage_gb=settings.grows_to_gb,
                database_name=settings.name,
                multi_az=settings.multi_az,
                backup_retention=cdk.Duration.days(settings.backup_days),
                deletion_protection=settings.deletion_protection,
                removal_policy=self.removal,
                encryption_key=self.key,
                snapshot_identifier=settings.snapshot_identifier,
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
        """The database as dashboard and alarms need it."""
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
            security_group=self._as_it_is("ProxySecurityGroup", group),
            log_retention=self.stage.log_retention,
        )

    def _as_it_is(self, id: str, group: ec2.ISecurityGroup) -> ec2.ISecurityGroup:
        """Return a group of the network as one that this stack adds no rules to.

        The CDK would add the connection of proxy and database in this stack, which the network has
        already: EC2 refuses a rule that is there.
        """
        return ec2.SecurityGroup.from_security_group_id(
            self, id, group.security_group_id, mutable=False
        )

    def _fernet_key(self) -> secretsmanager.Secret:
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
            SMG4="A new key cannot decrypt what the old one encrypted: a person changes it, with "
            "the steps of docs/howto/control-plane.md.",
        )
        return key

    def _acknowledge_choices(self) -> None:
        for rule, setting in (
            ("RDS3", "multi_az"),
            ("RDS10", "deletion_protection"),
            ("RDS13", "backup_days"),
        ):
            if not getattr(self.config.database, setting):
                reason = (
                    f"The stage's configuration decides this, with the option database.{setting}."
                )
                acknowledge(self.database, **{rule: reason})

    def _outputs(self) -> None:
        self.output("DatabaseHost", self.database.host)
        self.output("DatabasePort", self.database.port)
        self.output("DatabaseName", self.config.database.name)
        self.output(
            "DatabaseSecretArn",
            self.database.secret.secret_arn,
            "Secret with username, password, host, port and dbname",
        )
        if self.database.proxy:
            self.output(
                "DatabaseProxyHost",
                self.database.proxy.endpoint,
                "For workloads that open connections of their own; port 5432, TLS only",
            )
