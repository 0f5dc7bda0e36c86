"""The way to the function for an invocation that is too large for one event.

Every object is read once, seconds after it was written: the handler deletes it then, and whatever
it never came to expires. Owns who may do what with the objects, not what is in them.
"""

from __future__ import annotations

from typing import cast

import aws_cdk as cdk
from aws_cdk import aws_iam as iam
from aws_cdk import aws_s3 as s3
from constructs import Construct

from stacks.acknowledge import acknowledge

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

    Attributes:
        bucket: The scheduler writes to it, the function reads from it.
    """

    def __init__(
        self, scope: Construct, id: str, *, prefix: str, removal_policy: cdk.RemovalPolicy
    ) -> None:
        super().__init__(scope, id)
        self.bucket = s3.Bucket(
            self,
            "Payloads",
            block_public_access=s3.BlockPublicAccess.BLOCK_ALL,
            encryption=s3.BucketEncryption.S3_MANAGED,
            enforce_ssl=True,
            object_ownership=s3.ObjectOwnership.BUCKET_OWNER_ENFORCED,
            lifecycle_rules=[s3.LifecycleRule(id="Expire", expiration=_EXPIRATION)],
            removal_policy=removal_policy,
        )
        self._prefix = prefix
        acknowledge(
            self.bucket,
            S1="Objects live for seconds and are read by one function, whose own log tells of each "
            "invocation; a bucket for access logs would outlive them and the stack.",
        )

    def grant_put(self, grantee: iam.IGrantable) -> iam.Grant:
        """Let a scheduler put payloads in, and nothing else."""
        return self._grant(grantee, "s3:PutObject")

    def grant_take(self, grantee: iam.IGrantable) -> iam.Grant:
        """Let the handler read and delete the payloads whose keys it is told."""
        return self._grant(grantee, "s3:DeleteObject", "s3:GetObject")

    def _grant(self, grantee: iam.IGrantable, *actions: str) -> iam.Grant:
        principal = grantee.grant_principal
        holder = principal if isinstance(principal, Construct) else grantee
        if isinstance(holder, Construct):
            resource = cdk.Stack.of(self).get_logical_id(
                cast("s3.CfnBucket", self.bucket.node.default_child)
            )
            acknowledge(
                holder,
                **{
                    f"IAM5[Resource::<{resource}.Arn>/{self._prefix}*]": "Every invocation has a "
                    "key of its own, which is not known before it is sent."
                },
            )
        return iam.Grant.add_to_principal(
            grantee=grantee,
            actions=list(actions),
            resource_arns=[self.bucket.arn_for_objects(f"{self._prefix}*")],
        )
