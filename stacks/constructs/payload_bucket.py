"""The way to the function for an invocation that is too large for one event.

Every object is read once, seconds after it was written: the handler deletes it then, and whatever
it never came to expires. Owns who may do what with the objects, not what is in them.
"""

from __future__ import annotations

import aws_cdk as cdk
from aws_cdk import aws_iam as iam
from aws_cdk import aws_kms as kms
from aws_cdk import aws_s3 as s3
from constructs import Construct

from .acknowledge import acknowledge
from .closed_bucket import allow_objects, closed_bucket

#: The shortest that S3 counts in. A workload's token lives for minutes.
_EXPIRATION = cdk.Duration.days(1)


class PayloadBucket(Construct):
    """A bucket for payloads that wait for their invocation to start.

    Nobody is granted to list it: a key is found by those who know the invocation's id.

    Args:
        scope: The parent.
        id: The construct's id.
        prefix: What the keys of all objects begin with.
        removal_policy: What becomes of the bucket when it leaves the stack; CloudFormation deletes
            an empty one only (docs/decisions/0008-large-payloads.md).
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
        super().__init__(scope, id)
        self.bucket = closed_bucket(
            self,
            "Payloads",
            lifecycle_rules=[s3.LifecycleRule(id="Expire", expiration=_EXPIRATION)],
            removal_policy=removal_policy,
            encryption_key=encryption_key,
        )
        self._keys = f"{prefix}*"
        acknowledge(
            self.bucket,
            S1="Objects live for seconds and are read by one function, whose own log tells of each "
            "invocation; a bucket for access logs would outlive them and the stack.",
        )

    def grant_put(self, grantee: iam.IGrantable) -> iam.Grant:
        """Let a scheduler put payloads in, and nothing else."""
        return allow_objects(self.bucket, self._keys, grantee, "s3:PutObject", and_list=False)

    def grant_take(self, grantee: iam.IGrantable) -> iam.Grant:
        """Let the handler read and delete the payloads whose keys it is told."""
        return allow_objects(
            self.bucket, self._keys, grantee, "s3:DeleteObject", "s3:GetObject", and_list=False
        )
