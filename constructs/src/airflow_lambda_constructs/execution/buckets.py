"""The buckets of an environment, one for each purpose: payloads, DAG files and logs of tasks.

Owns who may do what with the objects, not what is in them.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import cast

import aws_cdk as cdk
from aws_cdk import aws_iam as iam
from aws_cdk import aws_kms as kms
from aws_cdk import aws_s3 as s3
from constructs import Construct

from airflow_lambda_constructs.acknowledge import acknowledge

#: The shortest that S3 counts in. A workload's token lives for minutes.
_PAYLOAD_EXPIRATION = cdk.Duration.days(1)

#: A push that was a mistake is undone by the version before it.
_OLD_VERSIONS = cdk.Duration.days(30)

#: Below it are the logs, so that the bucket has room for something else one day.
_LOG_PREFIX = "task-logs"

_BROKEN_UPLOADS = cdk.Duration.days(1)


class _ClosedBucket(Construct):
    """A bucket of the environment's own: nobody from outside, nothing in plain text, TLS only.

    CloudFormation deletes an empty one only: `destroy.py` empties it first
    (docs/decisions/0021-control-plane.md).

    Args:
        name: The id of the bucket in the construct.
        keys: One key, or what comes before a `*`.
        lifecycle_rule: What expires, and when.
        why_no_access_log: The reason.
        removal_policy: What becomes of the bucket when it leaves the stack.
        encryption_key: None: a key of S3's own.
        versioned: Whether it keeps what is replaced or deleted.
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
            # With a key of one's own, S3 asks KMS once in a while instead of for each object.
            bucket_key_enabled=True if encryption_key else None,
            enforce_ssl=True,
            object_ownership=s3.ObjectOwnership.BUCKET_OWNER_ENFORCED,
            versioned=versioned,
            lifecycle_rules=[lifecycle_rule],
            removal_policy=removal_policy,
        )
        acknowledge(self.bucket, S1=why_no_access_log)

    def _allow(self, grantee: iam.IGrantable, *actions: str, and_list: bool) -> iam.Grant:
        """Allow actions on the objects, and perhaps to see what there is in the bucket.

        Args:
            grantee: Who may.
            actions: What they may do with the objects.
            and_list: Whether they may list the bucket, all of it: S3 tells "not found" from
                "denied", and that the bucket is there, only to those who may.
        """
        bucket = self.bucket
        principal = grantee.grant_principal
        holder = principal if isinstance(principal, Construct) else grantee
        if self._keys.endswith("*") and isinstance(holder, Construct):
            finding = f"IAM5[Resource::{_name_in(holder, bucket)}/{self._keys}]"
            reason = (
                "The names of the objects are not known before they are written; the bucket is for "
                "this one purpose."
            )
            acknowledge(holder, **{finding: reason})
        grant = iam.Grant.add_to_principal(
            grantee=grantee,
            actions=list(actions),
            resource_arns=[bucket.arn_for_objects(self._keys)],
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


class PayloadBucket(_ClosedBucket):
    """A bucket for invocations that are too large for one event.

    Every object is read once, seconds after it was written: the handler deletes it then, and
    whatever it never came to expires. Nobody is granted to list the bucket: a key is found by those
    who know the invocation's id.

    Args:
        prefix: What the keys of all objects begin with.
        removal_policy: What becomes of the bucket when it leaves the stack.
        encryption_key: None: a key of S3's own.

    Attributes:
        bucket: The scheduler writes to it, the function reads from it.
    """

    def __init__(
        self,
        scope: Construct,
        id: str,
        *,
        prefix: str,
        removal_policy: cdk.RemovalPolicy,
        encryption_key: kms.IKey | None = None,
    ) -> None:
        super().__init__(
            scope,
            id,
            "Payloads",
            keys=f"{prefix}*",
            lifecycle_rule=s3.LifecycleRule(id="Expire", expiration=_PAYLOAD_EXPIRATION),
            why_no_access_log="Objects live for seconds and are read by one function, whose own "
            "log tells of each invocation; a bucket for access logs would outlive them and the "
            "stack.",
            removal_policy=removal_policy,
            encryption_key=encryption_key,
        )

    def grant_put(self, grantee: iam.IGrantable) -> iam.Grant:
        """Let a scheduler put payloads in, and nothing else."""
        return self._allow(grantee, "s3:PutObject", and_list=False)

    def grant_take(self, grantee: iam.IGrantable) -> iam.Grant:
        """Let the handler read and delete the payloads whose keys it is told."""
        return self._allow(grantee, "s3:DeleteObject", "s3:GetObject", and_list=False)


class DagBucket(_ClosedBucket):
    """A versioned bucket with one folder, or one archive, of DAG files.

    Args:
        key: The folder, with a slash at its end, or the archive's name.
        removal_policy: What becomes of the bucket when it leaves the stack.
        encryption_key: None: a key of S3's own.

    Attributes:
        uri: What is pushed to, and fetched from by whatever parses or runs the files.
    """

    def __init__(
        self,
        scope: Construct,
        id: str,
        *,
        key: str,
        removal_policy: cdk.RemovalPolicy,
        encryption_key: kms.IKey | None,
    ) -> None:
        super().__init__(
            scope,
            id,
            "Dags",
            keys=f"{key}*" if key.endswith("/") else key,
            lifecycle_rule=s3.LifecycleRule(
                id="ExpireOldVersions",
                noncurrent_version_expiration=_OLD_VERSIONS,
                expired_object_delete_marker=True,
                abort_incomplete_multipart_upload_after=_BROKEN_UPLOADS,
            ),
            why_no_access_log="The files are source code with a history of their own, and old "
            "versions are kept; CloudTrail's data events tell who read what where that is wanted.",
            removal_policy=removal_policy,
            encryption_key=encryption_key,
            versioned=True,
        )
        self.uri = f"s3://{self.bucket.bucket_name}/{key}"

    def grant_read(self, grantee: iam.IGrantable) -> iam.Grant:
        """Let whatever parses or runs DAGs fetch them.

        Versions too: during a push a function still fetches those that belong together.
        """
        return self._allow(grantee, "s3:GetObject", "s3:GetObjectVersion", and_list=True)

    def grant_push(self, grantee: iam.IGrantable) -> iam.Grant:
        """Let whoever publishes DAGs replace them, and take away what is no longer there."""
        actions = ("s3:DeleteObject", "s3:GetObject", "s3:PutObject")
        return self._allow(grantee, *actions, and_list=True)


class TaskLogBucket(_ClosedBucket):
    """A bucket of task logs.

    Args:
        retention: How long a log is kept.
        removal_policy: What becomes of the bucket when it leaves the stack.
        encryption_key: None: a key of S3's own.

    Attributes:
        folder: What Airflow calls `[logging] remote_base_log_folder`.
    """

    def __init__(
        self,
        scope: Construct,
        id: str,
        *,
        retention: cdk.Duration,
        removal_policy: cdk.RemovalPolicy,
        encryption_key: kms.IKey | None,
    ) -> None:
        super().__init__(
            scope,
            id,
            "Logs",
            keys=f"{_LOG_PREFIX}/*",
            lifecycle_rule=s3.LifecycleRule(
                id="Expire",
                expiration=retention,
                abort_incomplete_multipart_upload_after=_BROKEN_UPLOADS,
            ),
            why_no_access_log="It holds logs itself; a bucket for the access to logs would need "
            "one of its own, and CloudTrail's data events tell who read what where that is wanted.",
            removal_policy=removal_policy,
            encryption_key=encryption_key,
        )
        self.folder = f"s3://{self.bucket.bucket_name}/{_LOG_PREFIX}"

    def grant_write(self, grantee: iam.IGrantable) -> iam.Grant:
        """Let functions add to the logs of tasks.

        Airflow reads a log before it adds to it, and has to be told "not found" of a new one, not
        "denied": that takes the permission to list.
        https://docs.aws.amazon.com/AmazonS3/latest/API/API_HeadObject.html
        """
        return self._allow(grantee, "s3:GetObject", "s3:PutObject", and_list=True)

    #: A triggerer adds its part, which takes the same.
    grant_write_of_triggers = grant_write

    def grant_read(self, grantee: iam.IGrantable) -> iam.Grant:
        """Let whoever shows logs read them."""
        return self._allow(grantee, "s3:GetObject", and_list=True)


def _name_in(holder: Construct, bucket: s3.Bucket) -> str:
    """What the rule pack calls the bucket's ARN where the permission is."""
    there, here = cdk.Stack.of(bucket), cdk.Stack.of(holder)
    if there.node.path == here.node.path:
        return f"<{there.get_logical_id(cast('s3.CfnBucket', bucket.node.default_child))}.Arn>"
    exported: Mapping[str, str] = here.resolve(there.export_value(bucket.bucket_arn))
    return exported["Fn::ImportValue"]
