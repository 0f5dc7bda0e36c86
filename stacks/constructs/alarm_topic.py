"""Where alarms go: an encrypted SNS topic that CloudWatch may publish to, over TLS only.

Owns the topic and its key. It must not know what the alarms are about.
"""

from __future__ import annotations

import aws_cdk as cdk
from aws_cdk import aws_cloudwatch as cloudwatch
from aws_cdk import aws_cloudwatch_actions as actions
from aws_cdk import aws_iam as iam
from aws_cdk import aws_kms as kms
from aws_cdk import aws_sns as sns
from aws_cdk import aws_sns_subscriptions as subscriptions
from constructs import Construct

_CLOUDWATCH = iam.ServicePrincipal("cloudwatch.amazonaws.com")

#: What the account's administrators need to look after a key, one by one:
#: https://docs.aws.amazon.com/kms/latest/developerguide/key-policy-default.html#key-policy-default-allow-administrators
_ADMINISTRATION = [
    "kms:CancelKeyDeletion",
    "kms:CreateGrant",
    "kms:Decrypt",
    "kms:DescribeKey",
    "kms:DisableKey",
    "kms:DisableKeyRotation",
    "kms:EnableKey",
    "kms:EnableKeyRotation",
    "kms:GenerateDataKey",
    "kms:GetKeyPolicy",
    "kms:GetKeyRotationStatus",
    "kms:ListGrants",
    "kms:ListKeyPolicies",
    "kms:ListResourceTags",
    "kms:PutKeyPolicy",
    "kms:RevokeGrant",
    "kms:ScheduleKeyDeletion",
    "kms:TagResource",
    "kms:UntagResource",
    "kms:UpdateKeyDescription",
]


class AlarmTopic(Construct):
    """A topic for alarms, with a key of its own.

    CloudWatch cannot publish to a topic that is encrypted with SNS's own key, whose policy nobody
    can change: https://repost.aws/knowledge-center/cloudwatch-configure-alarm-sns

    Args:
        scope: The parent.
        id: The construct's id.
        email: Who is mailed, once they have confirmed; None: whoever subscribes to the topic.

    Attributes:
        topic: The topic.
        action: Sends an alarm to it.
    """

    def __init__(self, scope: Construct, id: str, *, email: str | None) -> None:
        super().__init__(scope, id)
        key = kms.Key(
            self,
            "Key",
            description="Alarms on their way through SNS",
            enable_key_rotation=True,
            policy=iam.PolicyDocument(statements=self._key_policy()),
            # Nothing that is read later is encrypted with it.
            removal_policy=cdk.RemovalPolicy.DESTROY,
            pending_window=cdk.Duration.days(7),
        )
        self.topic = sns.Topic(self, "Topic", master_key=key, enforce_ssl=True)
        self.topic.apply_removal_policy(cdk.RemovalPolicy.DESTROY)
        self.topic.add_to_resource_policy(
            iam.PolicyStatement(
                sid="CloudWatchAlarms",
                principals=[_CLOUDWATCH],
                actions=["sns:Publish"],
                resources=[self.topic.topic_arn],
                conditions=self._of_this_account(),
            )
        )
        self.action: cloudwatch.IAlarmAction = actions.SnsAction(self.topic)
        if email:
            self.topic.add_subscription(subscriptions.EmailSubscription(email))

    def _key_policy(self) -> list[iam.PolicyStatement]:
        return [
            iam.PolicyStatement(
                sid="Administration",
                principals=[iam.AccountRootPrincipal()],
                actions=_ADMINISTRATION,
                resources=["*"],  # In a key's policy: this key.
            ),
            iam.PolicyStatement(
                sid="CloudWatchAlarms",
                principals=[_CLOUDWATCH],
                actions=["kms:Decrypt", "kms:GenerateDataKey"],
                resources=["*"],
                conditions=self._of_this_account(),
            ),
        ]

    def _of_this_account(self) -> dict[str, dict[str, str]]:
        """Alarms of other accounts are not ours (the confused deputy)."""
        return {"StringEquals": {"aws:SourceAccount": cdk.Stack.of(self).account}}
