"""A bucket of the environment's own: nobody from outside, nothing in plain text, TLS only."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import cast

import aws_cdk as cdk
from aws_cdk import aws_iam as iam
from aws_cdk import aws_kms as kms
from aws_cdk import aws_s3 as s3
from constructs import Construct

from .acknowledge import acknowledge


def closed_bucket(  # noqa: PLR0913 - keyword-only settings of one bucket
    scope: Construct,
    id: str,
    *,
    lifecycle_rules: Sequence[s3.LifecycleRule],
    removal_policy: cdk.RemovalPolicy,
    versioned: bool = False,
    encryption_key: kms.IKey | None = None,
) -> s3.Bucket:
    """A bucket that is closed to the public.

    CloudFormation deletes an empty one only: `destroy.py` empties it first
    (docs/decisions/0021-control-plane.md).
    """
    return s3.Bucket(
        scope,
        id,
        block_public_access=s3.BlockPublicAccess.BLOCK_ALL,
        encryption=s3.BucketEncryption.KMS if encryption_key else s3.BucketEncryption.S3_MANAGED,
        encryption_key=encryption_key,
        # With a key of one's own, S3 asks KMS once in a while instead of for each object.
        bucket_key_enabled=True if encryption_key else None,
        enforce_ssl=True,
        object_ownership=s3.ObjectOwnership.BUCKET_OWNER_ENFORCED,
        versioned=versioned,
        lifecycle_rules=list(lifecycle_rules),
        removal_policy=removal_policy,
    )


def allow_objects(
    bucket: s3.Bucket, keys: str, grantee: iam.IGrantable, *actions: str, and_list: bool
) -> iam.Grant:
    """Allow actions on some objects, and perhaps to see what there is in the bucket.

    Args:
        bucket: Where the objects are.
        keys: One key, or what comes before a `*`.
        grantee: Who may.
        actions: What they may do with the objects.
        and_list: Whether they may list the bucket, all of it: S3 tells "not found" from "denied",
            and that the bucket is there, only to those who may.
    """
    principal = grantee.grant_principal
    holder = principal if isinstance(principal, Construct) else grantee
    if keys.endswith("*") and isinstance(holder, Construct):
        finding = f"IAM5[Resource::{_name_in(holder, bucket)}/{keys}]"
        reason = (
            "The names of the objects are not known before they are written; the bucket is for "
            "this one purpose."
        )
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
    """What the rule pack calls the bucket's ARN where the permission is."""
    there, here = cdk.Stack.of(bucket), cdk.Stack.of(holder)
    if there.node.path == here.node.path:
        return f"<{there.get_logical_id(cast('s3.CfnBucket', bucket.node.default_child))}.Arn>"
    exported: Mapping[str, str] = here.resolve(there.export_value(bucket.bucket_arn))
    return exported["Fn::ImportValue"]
