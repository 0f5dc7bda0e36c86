"""A Postgres for Airflow: encrypted, TLS only, with its password only in Secrets Manager."""

from __future__ import annotations

from dataclasses import dataclass
from typing import cast

import aws_cdk as cdk
from aws_cdk import aws_ec2 as ec2
from aws_cdk import aws_kms as kms
from aws_cdk import aws_logs as logs
from aws_cdk import aws_rds as rds
from aws_cdk import aws_secretsmanager as secretsmanager
from constructs import Construct

from airflow_lambda_constructs.acknowledge import acknowledge

#: The user that owns everything in the database.
USER = "airflow"


@dataclass(frozen=True, slots=True, kw_only=True)
class PasswordRotation:
    """How AWS's own function changes the password.

    Attributes:
        function_name: Physical name of the function, which AWS adds to the stack.
        subnets: The function's; they have a route to Secrets Manager.
        security_groups: The function's; they reach the database and Secrets Manager.
    """

    every: cdk.Duration
    function_name: str
    subnets: ec2.SubnetSelection
    security_groups: tuple[ec2.ISecurityGroup, ...]
    log_retention: logs.RetentionDays


@dataclass(frozen=True, slots=True, kw_only=True)
class ConnectionProxy:
    """An RDS Proxy in front of the database; `name` is its physical name."""

    name: str
    security_group: ec2.ISecurityGroup
    log_retention: logs.RetentionDays


@dataclass(frozen=True, slots=True, kw_only=True)
class AirflowDatabaseProps:
    """The settings of an `AirflowDatabase`.

    Attributes:
        subnets: In two zones at least; they need no route to the outside.
        instance_type: Without the `db.` of RDS's instance classes.
        max_storage_gb: How far RDS enlarges the storage before it is full; None: not at all.
        database_name: A snapshot keeps its own name, which this must be.
        backup_retention: How long automated backups are kept; zero: there are none.
        removal_policy: What happens to the database and its secret when they leave the stack. A
            database that an update replaces, and that is not retained, leaves a snapshot.
        encryption_key: For the storage and the secret; None: AWS's own keys.
        snapshot_identifier: Name or ARN of a snapshot that the database begins with, whose user is
            `USER`; None: it begins empty. Another value, or none any more, replaces the database.
        rotation: None: the password never changes.
        proxy: None: there is no proxy.
    """

    vpc: ec2.IVpc
    subnets: ec2.SubnetSelection
    security_group: ec2.ISecurityGroup
    version: rds.PostgresEngineVersion
    instance_type: ec2.InstanceType
    storage_gb: int
    database_name: str
    multi_az: bool
    backup_retention: cdk.Duration
    deletion_protection: bool
    removal_policy: cdk.RemovalPolicy
    encryption_key: kms.IKey | None = None
    max_storage_gb: int | None = None
    snapshot_identifier: str | None = None
    rotation: PasswordRotation | None = None
    proxy: ConnectionProxy | None = None


class AirflowDatabase(Construct):
    """An RDS Postgres instance and its secret: JSON with username, password, host, port, dbname."""

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
        secret = rds.DatabaseSecret(
            self,
            "Secret",
            username=USER,
            encryption_key=props.encryption_key,
        )
        secret.apply_removal_policy(props.removal_policy)
        self.instance = rds.DatabaseInstance(
            self,
            "Instance",
            engine=engine,
            vpc=props.vpc,
            vpc_subnets=props.subnets,
            security_groups=[props.security_group],
            publicly_accessible=False,
            instance_type=props.instance_type,
            storage_type=rds.StorageType.GP3,
            allocated_storage=props.storage_gb,
            max_allocated_storage=props.max_storage_gb,
            storage_encrypted=True,
            storage_encryption_key=props.encryption_key,
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
        resource = cast("rds.CfnDBInstance", self.instance.node.default_child)
        if props.removal_policy == cdk.RemovalPolicy.DESTROY:
            resource.cfn_options.update_replace_policy = cdk.CfnDeletionPolicy.SNAPSHOT
        if props.snapshot_identifier:
            self._restore(resource, props.snapshot_identifier)
        self.secret = secret
        self.host = self.instance.db_instance_endpoint_address
        self.port = self.instance.db_instance_endpoint_port
        self.proxy = self._proxy(props.proxy, props) if props.proxy else None
        if props.rotation:
            self._rotate(props.rotation, props)
        else:
            acknowledge(
                secret,
                SMG4="Airflow reads the password when it starts: a rotation would cut it off until "
                "its next start (docs/decisions/0020-password-rotation.md).",
            )
        acknowledge(
            self.instance,
            RDS11="Another port hides nothing: only one security group reaches the database, and "
            "only inside the VPC.",
        )

    def _restore(self, resource: rds.CfnDBInstance, snapshot: str) -> None:
        """Begin with a snapshot, whose user, name and encryption the database has.

        https://docs.aws.amazon.com/AWSCloudFormation/latest/TemplateReference/aws-resource-rds-dbinstance.html
        """
        resource.db_snapshot_identifier = snapshot
        for name in ("DBName", "KmsKeyId", "MasterUsername", "StorageEncrypted"):
            resource.add_property_deletion_override(name)
        acknowledge(
            self.instance,
            RDS2="The database is encrypted as its snapshot is, and CloudFormation takes no other "
            "setting: docs/howto/upgrade-and-rollback.md says how to encrypt a snapshot.",
        )

    def _proxy(self, settings: ConnectionProxy, props: AirflowDatabaseProps) -> rds.DatabaseProxy:
        # https://docs.aws.amazon.com/AmazonRDS/latest/UserGuide/rds-proxy-creating.html
        log = self._log("ProxyLog", f"/aws/rds/proxy/{settings.name}", settings, props)
        proxy = rds.DatabaseProxy(
            self,
            "Proxy",
            db_proxy_name=settings.name,
            proxy_target=rds.ProxyTarget.from_instance(self.instance),
            secrets=[self.secret],
            vpc=props.vpc,
            vpc_subnets=props.subnets,
            security_groups=[settings.security_group],
            require_tls=True,
        )
        proxy.node.add_dependency(log)
        return proxy

    def _rotate(self, rotation: PasswordRotation, props: AirflowDatabaseProps) -> None:
        """Rotate the password of a single user, whose open connections survive the change.

        https://docs.aws.amazon.com/secretsmanager/latest/userguide/rotation-strategy.html
        """
        log = self._log("RotationLog", f"/aws/lambda/{rotation.function_name}", rotation, props)
        attached = self.instance.secret or self.secret
        schedule = attached.add_rotation_schedule(
            "Rotation",
            automatically_after=rotation.every,
            hosted_rotation=secretsmanager.HostedRotation.postgre_sql_single_user(
                function_name=rotation.function_name,
                vpc=props.vpc,
                vpc_subnets=rotation.subnets,
                security_groups=list(rotation.security_groups),
            ),
            # A deploy must not cut a running Airflow off.
            rotate_immediately_on_update=False,
        )
        schedule.node.add_dependency(log)

    def _log(
        self,
        id: str,
        name: str,
        writer: ConnectionProxy | PasswordRotation,
        props: AirflowDatabaseProps,
    ) -> logs.LogGroup:
        """Make the log group that its writer would otherwise create, never expire and leave."""
        return logs.LogGroup(
            self,
            id,
            log_group_name=name,
            retention=writer.log_retention,
            removal_policy=props.removal_policy,
            encryption_key=props.encryption_key,
        )
