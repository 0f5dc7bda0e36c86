"""A Postgres for Airflow: encrypted, TLS only, its password in Secrets Manager and nowhere else."""

from __future__ import annotations

from dataclasses import dataclass

import aws_cdk as cdk
from aws_cdk import aws_ec2 as ec2
from aws_cdk import aws_rds as rds
from constructs import Construct

from stacks.acknowledge import acknowledge


@dataclass(frozen=True, slots=True, kw_only=True)
class AirflowDatabaseProps:
    """What an `AirflowDatabase` is made of.

    Attributes:
        vpc: Has isolated subnets.
        security_group: Who may reach it.
        version: The engine's version.
        instance_type: Without the `db.` of RDS's instance classes.
        storage_gb: gp3.
        database_name: Of the database on the instance.
        multi_az: Whether it has a standby.
        backup_retention: Of automated backups; zero: none.
        deletion_protection: Whether AWS refuses to delete it.
        removal_policy: What becomes of it and its secret when they leave the stack.
    """

    vpc: ec2.IVpc
    security_group: ec2.ISecurityGroup
    version: rds.PostgresEngineVersion
    instance_type: ec2.InstanceType
    storage_gb: int
    database_name: str
    multi_az: bool
    backup_retention: cdk.Duration
    deletion_protection: bool
    removal_policy: cdk.RemovalPolicy


class AirflowDatabase(Construct):
    """An RDS Postgres instance and its secret.

    Attributes:
        instance: The instance.
        secret: JSON with username, password, host, port, dbname.
        host: The endpoint's name.
        port: The endpoint's port.
    """

    def __init__(self, scope: Construct, id: str, props: AirflowDatabaseProps) -> None:
        super().__init__(scope, id)
        engine = rds.DatabaseInstanceEngine.postgres(version=props.version)
        parameters = rds.ParameterGroup(
            self,
            "Parameters",
            engine=engine,
            description="TLS only",
            parameters={"rds.force_ssl": "1"},
            removal_policy=props.removal_policy,
        )
        secret = rds.DatabaseSecret(self, "Secret", username="airflow")
        secret.apply_removal_policy(props.removal_policy)
        self.instance = rds.DatabaseInstance(
            self,
            "Instance",
            engine=engine,
            vpc=props.vpc,
            vpc_subnets=ec2.SubnetSelection(subnet_type=ec2.SubnetType.PRIVATE_ISOLATED),
            security_groups=[props.security_group],
            publicly_accessible=False,
            instance_type=props.instance_type,
            storage_type=rds.StorageType.GP3,
            allocated_storage=props.storage_gb,
            storage_encrypted=True,
            credentials=rds.Credentials.from_secret(secret),
            database_name=props.database_name,
            parameter_group=parameters,
            multi_az=props.multi_az,
            auto_minor_version_upgrade=True,
            backup_retention=props.backup_retention,
            delete_automated_backups=props.removal_policy == cdk.RemovalPolicy.DESTROY,
            copy_tags_to_snapshot=True,
            deletion_protection=props.deletion_protection,
            removal_policy=props.removal_policy,
        )
        self.secret = secret
        self.host = self.instance.db_instance_endpoint_address
        self.port = self.instance.db_instance_endpoint_port
        acknowledge(
            secret,
            SMG4="Airflow reads the password when it starts: a rotation behind its back would cut "
            "it off until its next start.",
        )
        acknowledge(
            self.instance,
            RDS11="Another port hides nothing: only one security group reaches the database, and "
            "only inside the VPC.",
        )
