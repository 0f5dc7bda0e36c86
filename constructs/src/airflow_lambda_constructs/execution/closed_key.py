"""A KMS key whose policy names what it allows: no `kms:*`, and nobody outside of the account."""

from __future__ import annotations

from collections.abc import Sequence

import aws_cdk as cdk
from aws_cdk import aws_iam as iam
from aws_cdk import aws_kms as kms
from constructs import Construct

#: What IAM policies of the account may grant: to look after the key, and to use it.
#: https://docs.aws.amazon.com/kms/latest/developerguide/key-policy-default.html
_ACCOUNT = [
    "kms:CancelKeyDeletion",
    "kms:CreateAlias",
    "kms:CreateGrant",
    "kms:Decrypt",
    "kms:DeleteAlias",
    "kms:DescribeKey",
    "kms:DisableKey",
    "kms:DisableKeyRotation",
    "kms:EnableKey",
    "kms:EnableKeyRotation",
    "kms:Encrypt",
    "kms:GenerateDataKey",
    "kms:GenerateDataKeyWithoutPlaintext",
    "kms:GetKeyPolicy",
    "kms:GetKeyRotationStatus",
    "kms:ListGrants",
    "kms:ListKeyPolicies",
    "kms:ListResourceTags",
    "kms:PutKeyPolicy",
    "kms:ReEncryptFrom",
    "kms:ReEncryptTo",
    "kms:RetireGrant",
    "kms:RevokeGrant",
    "kms:ScheduleKeyDeletion",
    "kms:TagResource",
    "kms:UntagResource",
    "kms:UpdateAlias",
    "kms:UpdateKeyDescription",
]


def closed_key(
    scope: Construct,
    id: str,
    *,
    description: str,
    services: Sequence[iam.PolicyStatement],
    removal_policy: cdk.RemovalPolicy,
) -> kms.Key:
    """A key that rotates every year.

    Args:
        scope: The parent.
        id: The construct's id.
        description: Shown in the KMS console.
        services: What AWS's services may do with it on their own account.
        removal_policy: What becomes of the key when it leaves the stack; destroyed, it can be
            brought back for seven days.
    """
    account = iam.PolicyStatement(
        sid="Account",
        principals=[iam.AccountRootPrincipal()],
        actions=_ACCOUNT,
        resources=["*"],  # In a key's policy: this key.
    )
    return kms.Key(
        scope,
        id,
        description=description,
        enable_key_rotation=True,
        policy=iam.PolicyDocument(statements=[account, *services]),
        removal_policy=removal_policy,
        pending_window=cdk.Duration.days(7),
    )
