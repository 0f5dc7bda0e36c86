"""The encrypted SNS topic that receives the alarms."""

from __future__ import annotations

import aws_cdk as cdk
from aws_cdk import aws_cloudwatch as cloudwatch
from aws_cdk import aws_cloudwatch_actions as actions
from aws_cdk import aws_iam as iam
from aws_cdk import aws_sns as sns
from aws_cdk import aws_sns_subscriptions as subscriptions
from constructs import Construct

from airflow_lambda_constructs.execution.closed_key import closed_key

_CLOUDWATCH = iam.ServicePrincipal("cloudwatch.amazonaws.com")


class AlarmTopic(Construct):
    """A topic for alarms, TLS only, with its own key.

    CloudWatch cannot publish to a topic that is encrypted with SNS's own key, and nobody can change
    that key's policy: https://repost.aws/knowledge-center/cloudwatch-configure-alarm-sns

    Args:
        email: Address that SNS asks for a confirmation and then mails to; None: no subscription.
    """

    def __init__(self, scope: Construct, id: str, *, email: str | None) -> None:
        super().__init__(scope, id)
        # Alarms of other accounts are refused (the confused deputy).
        only_this_account = {"StringEquals": {"aws:SourceAccount": cdk.Stack.of(self).account}}
        key = closed_key(
            self,
            "Key",
            description="Alarms on their way through SNS",
            services=[
                iam.PolicyStatement(
                    sid="CloudWatchAlarms",
                    principals=[_CLOUDWATCH],
                    actions=["kms:Decrypt", "kms:GenerateDataKey"],
                    resources=["*"],  # In a key's policy this is the key itself.
                    conditions=only_this_account,
                )
            ],
            # It encrypts no data that is read later.
            removal_policy=cdk.RemovalPolicy.DESTROY,
        )
        self.topic = sns.Topic(self, "Topic", master_key=key, enforce_ssl=True)
        self.topic.apply_removal_policy(cdk.RemovalPolicy.DESTROY)
        self.topic.add_to_resource_policy(
            iam.PolicyStatement(
                sid="CloudWatchAlarms",
                principals=[_CLOUDWATCH],
                actions=["sns:Publish"],
                resources=[self.topic.topic_arn],
                conditions=only_this_account,
            )
        )
        self.action: cloudwatch.IAlarmAction = actions.SnsAction(self.topic)
        if email:
            self.topic.add_subscription(subscriptions.EmailSubscription(email))
