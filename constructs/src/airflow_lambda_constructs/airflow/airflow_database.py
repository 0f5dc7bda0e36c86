"""A Postgres for Airflow: encrypted, TLS only, its password in Secrets Manager and nowhere else."""

from __future__ import annotations

from dataclasses import dataclass

import aws_cdk as cdk
from aws_cdk import aws_ec2 as ec2
from aws_cdk import aws_kms as kms
from aws_cdk import aws_logs as logs
from aws_cdk import aws_rds as rds
from aws_cdk import aws_secretsmanager as secretsmanager
from constructs import Construct

from airflow_lambda_constructs.acknowledge import acknowledge


@dataclass(frozen=True, slots=True, kw_only=True)
class PasswordRotation:
    """How the password is changed from time to time.

    Attributes:
        function_name: Physical name of the function that AWS adds to the stack for it.
        subnets: Where that function is: with a way to Secrets Manager.
        security_groups: The function's; they reach the database and Secrets Manager.
        log_retention: Of the function's log.
    """

    every: cdk.Duration
    function_name: str
    subnets: ec2.SubnetSelection
    security_groups: tuple[ec2.ISecurityGroup, ...]
    log_retention: logs.RetentionDays


@dataclass(frozen=True, slots=True, kw_only=True)
class ConnectionProxy:
    """An RDS Proxy in front of the database.

    Attributes:
        name: Physical name, and with it that of its log.
        security_group: Who may reach it.
        log_retention: Of its log.
    """

    name: str
    security_group: ec2.ISecurityGroup
    log_retention: logs.RetentionDays


@dataclass(frozen=True, slots=True, kw_only=True)
class AirflowDatabaseProps:
    """What an `AirflowDatabase` is made of.

    Attributes:
        subnets: In two zones at least; they need no way out.
        security_group: Who may reach it.
        instance_type: Without the `db.` of RDS's instance classes.
        storage_gb: gp3.
        database_name: Of the database on the instance.
        multi_az: Whether it has a standby.
        backup_retention: Of automated backups; zero: none.
        deletion_protection: Whether AWS refuses to delete it.
        removal_policy: What becomes of it and its secret when they leave the stack.
        encryption_key: For the storage and the secret; None: keys of AWS's own.
        rotation: None: the password stays.
        proxy: What shares its connections out; None: nothing does.
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
    rotation: PasswordRotation | None = None
    proxy: ConnectionProxy | None = None


class AirflowDatabase(Construct):
    """An RDS Postgres instance and its secret.

    Attributes:
        secret: JSON with username, password, host, port, dbname.
        proxy: The RDS Proxy; None: there is none.
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
        secret = rds.DatabaseSecret(
            self,
            "Secret",
            username="airflow",
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
        self.secret = secret
        self.host = self.instance.db_instance_endpoint_address
        self.port = self.instance.db_instance_endpoint_port
        self.proxy = self._proxy(props.proxy, props) if props.proxy else None
        if props.rotation:
            self._rotate(props.rotation, props)
        else:
            acknowledge(
                secret,
                SMG4="Airflow reads the password when it starts: a rotation behind its back would "
                "cut it off until its next start (docs/decisions/0020-password-rotation.md).",
            )
        acknowledge(
            self.instance,
            RDS11="Another port hides nothing: only one security group reaches the database, and "
            "only inside the VPC.",
        )

    def _proxy(self, settings: ConnectionProxy, props: AirflowDatabaseProps) -> rds.DatabaseProxy:
        """Shares few connections to the database out among many clients; TLS on both sides."""
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
        """One user, whose connections stay open when the password changes.

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
            # The first time, too, is when somebody expects it.
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
        """The log that its writer would make itself, for ever, and leave behind."""
        return logs.LogGroup(
            self,
            id,
            log_group_name=name,
            retention=writer.log_retention,
            removal_policy=props.removal_policy,
            encryption_key=props.encryption_key,
        )
