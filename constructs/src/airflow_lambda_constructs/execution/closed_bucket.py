"""What every bucket of an environment has: no public access, TLS only, encrypted objects."""

from __future__ import annotations

from collections.abc import Mapping
from typing import cast

import aws_cdk as cdk
from aws_cdk import aws_iam as iam
from aws_cdk import aws_kms as kms
from aws_cdk import aws_s3 as s3
from constructs import Construct

from airflow_lambda_constructs.acknowledge import acknowledge


class ClosedBucket(Construct):
    """A private bucket for one purpose, with grants on its objects.

    CloudFormation deletes only an empty bucket: `make destroy` empties it first
    (docs/decisions/0021-control-plane.md).

    Args:
        name: Id of the bucket inside this construct.
        keys: Keys of the objects: one key, or a prefix followed by `*`.
        why_no_access_log: The reason that cdk-nag's report shows.
        encryption_key: None: S3's own key.
        versioned: Whether replaced and deleted objects are kept.
    """

    def __init__(  # noqa: PLR0913 - keyword-only settings of one bucket
        self,
        scope: Construct,
        id: str,
        name: str,
        *,
        keys: str,
        lifecycle_rule: s3.LifecycleRule,
        why_no_access_log: str,
        removal_policy: cdk.RemovalPolicy,
        encryption_key: kms.IKey | None,
        versioned: bool = False,
    ) -> None:
        super().__init__(scope, id)
        self._keys = keys
        self.bucket = s3.Bucket(
            self,
            name,
            block_public_access=s3.BlockPublicAccess.BLOCK_ALL,
            encryption=(
                s3.BucketEncryption.KMS if encryption_key else s3.BucketEncryption.S3_MANAGED
            ),
            encryption_key=encryption_key,
            # S3 then calls KMS once in a while instead of for each object.
            bucket_key_enabled=True if encryption_key else None,
            enforce_ssl=True,
            object_ownership=s3.ObjectOwnership.BUCKET_OWNER_ENFORCED,
            versioned=versioned,
            lifecycle_rules=[lifecycle_rule],
            removal_policy=removal_policy,
        )
        acknowledge(self.bucket, S1=why_no_access_log)

    def _allow(
        self, grantee: iam.IGrantable, *actions: str, and_list: bool, ending: str = ""
    ) -> iam.Grant:
        """Allow actions on the objects, or on those with this ending, and perhaps listing them.

        S3 answers "denied" instead of "not found" to those who may not list.
        """
        bucket, keys = self.bucket, self._keys + ending
        principal = grantee.grant_principal
        holder = principal if isinstance(principal, Construct) else grantee
        if "*" in keys and isinstance(holder, Construct):
            finding = f"IAM5[Resource::{_name_in(holder, bucket)}/{keys}]"
            reason = "The bucket is for one purpose, and its objects' names are not known before."
            acknowledge(holder, **{finding: reason})
        grant = iam.Grant.add_to_principal(
            grantee=grantee,
            actions=list(actions),
            resource_arns=[bucket.arn_for_objects(keys)],
        )
        if and_list:
            grant = grant.combine(
                iam.Grant.add_to_principal(
                    grantee=grantee, actions=["s3:ListBucket"], resource_arns=[bucket.bucket_arn]
                )
            )
        if bucket.encryption_key:
            reads, writes = "s3:GetObject" in actions, "s3:PutObject" in actions
            use = ["kms:Decrypt"] * reads + ["kms:GenerateDataKey"] * writes
            grant = grant.combine(bucket.encryption_key.grant(grantee, *use))
        return grant


def _name_in(holder: Construct, bucket: s3.Bucket) -> str:
    """The bucket's ARN as cdk-nag shows it in the stack that has the permission."""
    there, here = cdk.Stack.of(bucket), cdk.Stack.of(holder)
    if there.node.path == here.node.path:
        return f"<{there.get_logical_id(cast('s3.CfnBucket', bucket.node.default_child))}.Arn>"
    exported: Mapping[str, str] = here.resolve(there.export_value(bucket.bucket_arn))
    return exported["Fn::ImportValue"]
