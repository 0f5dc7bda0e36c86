"""A KMS key whose policy names each action: no `kms:*`, and nobody outside the account."""

from __future__ import annotations

from collections.abc import Sequence

import aws_cdk as cdk
from aws_cdk import aws_iam as iam
from aws_cdk import aws_kms as kms
from constructs import Construct

#: The actions that IAM policies of the account may grant: to administer the key, and to use it.
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
    """Make a key that rotates every year.

    A destroyed key can be restored for seven days. `services` are statements for AWS services that
    use the key themselves, without a role of the account.
    """
    account = iam.PolicyStatement(
        sid="Account",
        principals=[iam.AccountRootPrincipal()],
        actions=_ACCOUNT,
        resources=["*"],  # In a key's policy this is the key itself.
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
