"""A file system that workloads share, wherever they run, and how each kind of target mounts it."""

from __future__ import annotations

from collections.abc import Sequence

import aws_cdk as cdk
from aws_cdk import aws_ec2 as ec2
from aws_cdk import aws_efs as efs
from aws_cdk import aws_iam as iam
from aws_cdk import aws_kms as kms
from aws_cdk import aws_lambda as lambda_
from constructs import Construct

#: The user that owns every file, whichever user a process runs as: functions and containers have
#: different ones. The number means nothing elsewhere.
#: https://docs.aws.amazon.com/efs/latest/ug/enforce-identity-access-points.html
_USER = "1000"

#: The folder of the file system that is mounted.
_FOLDER = "/shared"


class SharedFiles(Construct):
    """A file system of Amazon EFS with one access point, which all workloads mount.

    A client has to use TLS and a role with `grant_use`. The throughput is elastic: it is charged by
    what is read and written, and there is none to plan for.

    Attributes:
        mount: The folder in which workloads find the files.
    """

    def __init__(  # noqa: PLR0913 - keyword-only settings of one file system
        self,
        scope: Construct,
        id: str,
        *,
        mount: str,
        vpc: ec2.IVpc,
        subnets: ec2.SubnetSelection,
        clients: Sequence[ec2.ISecurityGroup],
        removal_policy: cdk.RemovalPolicy,
        encryption_key: kms.IKey | None = None,
    ) -> None:
        """Make it.

        Args:
            scope: Where it is made.
            id: Its id there.
            mount: A folder below `/mnt`, as Lambda demands.
            vpc: That of the functions and containers.
            subnets: One for each of their zones.
            clients: The security groups that are let in.
            removal_policy: What happens to the files when they leave the stack.
            encryption_key: None: AWS's own key.
        """
        super().__init__(scope, id)
        self.mount = mount
        group = ec2.SecurityGroup(
            self,
            "SecurityGroup",
            vpc=vpc,
            description="Of the shared file system",
            allow_all_outbound=False,
        )
        for client in clients:
            group.connections.allow_from(client, ec2.Port.NFS, "NFS from workloads")
        self._file_system = efs.FileSystem(
            self,
            "FileSystem",
            vpc=vpc,
            vpc_subnets=subnets,
            security_group=group,
            encrypted=True,
            kms_key=encryption_key,
            file_system_policy=_tls_only(),
            # Nobody without a role gets in, because there is a policy. Otherwise the CDK adds a
            # statement that lets every identity write as root.
            allow_anonymous_access=True,
            throughput_mode=efs.ThroughputMode.ELASTIC,
            removal_policy=removal_policy,
        )
        self._access_point = self._file_system.add_access_point(
            "AccessPoint",
            path=_FOLDER,
            create_acl=efs.Acl(owner_uid=_USER, owner_gid=_USER, permissions="750"),
            posix_user=efs.PosixUser(uid=_USER, gid=_USER),
        )

    @property
    def file_system_id(self) -> str:
        """The id of the file system."""
        return self._file_system.file_system_id

    @property
    def access_point_id(self) -> str:
        """The id of the access point."""
        return self._access_point.access_point_id

    @property
    def file_system(self) -> efs.IFileSystem:
        """The file system."""
        return self._file_system

    def of_function(self) -> lambda_.FileSystem:
        """Return how a function mounts it; its role needs `grant_use`."""
        return lambda_.FileSystem(
            arn=self._access_point.access_point_arn, local_mount_path=self.mount
        )

    def grant_use(self, role: iam.IRole) -> None:
        """Let a workload mount the folder, read it and write into it."""
        role.add_to_principal_policy(
            iam.PolicyStatement(
                actions=["elasticfilesystem:ClientMount", "elasticfilesystem:ClientWrite"],
                resources=[self._file_system.file_system_arn],
                conditions={
                    "StringEquals": {
                        "elasticfilesystem:AccessPointArn": self._access_point.access_point_arn
                    }
                },
            )
        )


def _tls_only() -> iam.PolicyDocument:
    """Refuse connections without TLS; that there is a policy refuses those without a role.

    https://docs.aws.amazon.com/efs/latest/ug/iam-access-control-nfs-efs.html
    """
    return iam.PolicyDocument(
        statements=[
            iam.PolicyStatement(
                sid="TlsOnly",
                effect=iam.Effect.DENY,
                principals=[iam.AnyPrincipal()],
                actions=["*"],
                conditions={"Bool": {"aws:SecureTransport": "false"}},
            )
        ]
    )
