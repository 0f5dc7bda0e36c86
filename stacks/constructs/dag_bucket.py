"""The bucket that DAG files are pushed to, and fetched from by whatever parses or runs them."""

from __future__ import annotations

import aws_cdk as cdk
from aws_cdk import aws_iam as iam
from aws_cdk import aws_kms as kms
from aws_cdk import aws_s3 as s3
from constructs import Construct

from .acknowledge import acknowledge
from .closed_bucket import allow_objects, closed_bucket

#: A push that was a mistake is undone by the version before it.
_OLD_VERSIONS = cdk.Duration.days(30)


class DagBucket(Construct):
    """A versioned bucket with one folder, or one archive, of DAG files.

    Args:
        scope: The parent.
        id: The construct's id.
        key: The folder, with a slash at its end, or the archive's name.
        removal_policy: What becomes of the bucket when it leaves the stack.
        encryption_key: None: a key of S3's own.

    Attributes:
        bucket: Holds the files.
        uri: What is pushed to and fetched from.
    """

    def __init__(
        self,
        scope: Construct,
        id: str,
        *,
        key: str,
        removal_policy: cdk.RemovalPolicy,
        encryption_key: kms.IKey | None = None,
    ) -> None:
        super().__init__(scope, id)
        self.bucket = closed_bucket(
            self,
            "Dags",
            versioned=True,
            lifecycle_rules=[
                s3.LifecycleRule(
                    id="ExpireOldVersions",
                    noncurrent_version_expiration=_OLD_VERSIONS,
                    expired_object_delete_marker=True,
                    abort_incomplete_multipart_upload_after=cdk.Duration.days(1),
                )
            ],
            removal_policy=removal_policy,
            encryption_key=encryption_key,
        )
        self.uri = f"s3://{self.bucket.bucket_name}/{key}"
        self._keys = f"{key}*" if key.endswith("/") else key
        acknowledge(
            self.bucket,
            S1="The files are source code with a history of their own, and old versions are kept; "
            "CloudTrail's data events tell who read what where that is wanted.",
        )

    def grant_read(self, grantee: iam.IGrantable) -> iam.Grant:
        """Let whatever parses or runs DAGs fetch them.

        Versions too: during a push a function still fetches those that belong together.
        """
        actions = ("s3:GetObject", "s3:GetObjectVersion")
        return allow_objects(self.bucket, self._keys, grantee, *actions, and_list=True)

    def grant_push(self, grantee: iam.IGrantable) -> iam.Grant:
        """Let whoever publishes DAGs replace them, and take away what is no longer there."""
        return allow_objects(
            self.bucket,
            self._keys,
            grantee,
            "s3:DeleteObject",
            "s3:GetObject",
            "s3:PutObject",
            and_list=True,
        )
