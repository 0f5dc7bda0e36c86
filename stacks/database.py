"""Airflow's metadata database: the stack that is never replaced.

It must not know who uses the database; the network's security groups decide that.
"""

from __future__ import annotations

import aws_cdk as cdk
from aws_cdk import aws_ec2 as ec2
from aws_cdk import aws_rds as rds
from constructs import Construct

from stacks.acknowledge import acknowledge
from stacks.config import StageConfig
from stacks.constructs.airflow_database import AirflowDatabase, AirflowDatabaseProps
from stacks.stage import StageStack


class DatabaseStack(StageStack):
    """RDS Postgres in the isolated subnets of the VPC.

    Args:
        scope: The app.
        stage: The stage's name.
        config: The stage's configuration.
        vpc: Where the database is.
        security_group: Who may reach it.
    """

    def __init__(
        self,
        scope: Construct,
        *,
        stage: str,
        config: StageConfig,
        vpc: ec2.IVpc,
        security_group: ec2.ISecurityGroup,
    ) -> None:
        super().__init__(
            scope, "database", stage=stage, config=config, description="Airflow's metadata database"
        )
        settings = config.database
        database = AirflowDatabase(
            self,
            "Database",
            AirflowDatabaseProps(
                vpc=vpc,
                security_group=security_group,
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
            ),
        )
        if not settings.multi_az:
            acknowledge(database, RDS3="A standby is chosen by database.multi_az of the stage.")
        if not settings.backup_days:
            acknowledge(database, RDS13="Backups are chosen by database.backup_days of the stage.")
        if not settings.deletion_protection:
            acknowledge(
                database, RDS10="Protection is chosen by database.deletion_protection of the stage."
            )

        cdk.CfnOutput(self, "DatabaseHost", value=database.host)
        cdk.CfnOutput(self, "DatabasePort", value=database.port)
        cdk.CfnOutput(self, "DatabaseName", value=settings.name)
        cdk.CfnOutput(
            self,
            "DatabaseSecretArn",
            value=database.secret.secret_arn,
            description="Secret with username, password, host, port and dbname",
        )
