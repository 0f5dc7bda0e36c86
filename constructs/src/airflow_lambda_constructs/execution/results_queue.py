"""The queues that lead back from the functions: results, dead letters and failures."""

from __future__ import annotations

import aws_cdk as cdk
from aws_cdk import aws_iam as iam
from aws_cdk import aws_kms as kms
from aws_cdk import aws_sqs as sqs
from constructs import Construct

from airflow_lambda_constructs.acknowledge import acknowledge

#: Dead letters and failures are evidence: this is the longest that SQS keeps a message.
_EVIDENCE_RETENTION = cdk.Duration.days(14)

#: The longest that SQS lets a receive wait, so that the fewest come back empty.
_LONG_POLL = cdk.Duration.seconds(20)

#: What it takes to receive messages, and to delete them or hand them back.
_DRAIN = (
    "sqs:ChangeMessageVisibility",
    "sqs:DeleteMessage",
    "sqs:GetQueueAttributes",
    "sqs:ReceiveMessage",
)


class ResultsQueue(Construct):
    """Results from the handler, dead letters and failure records from Lambda.

    Lambda reports an invocation that it gave up on twice. The dead letter is for the executor,
    which settles the workload and deletes it. The failure record, with Lambda's condition and the
    stack trace, is for people: no scheduler reads it, and it stays for two weeks.
    docs/decisions/0018-functions.md

    Args:
        count: The number of results queues: one for each scheduler that runs at the same time.
        retention: How long a result waits for a scheduler.
        visibility_timeout: How long a received result is hidden from other schedulers.
        encryption_key: None: SQS's own key.

    Attributes:
        results: The handler sends to the queue that an invocation names, or else to the first.
    """

    def __init__(  # noqa: PLR0913 - keyword-only settings of one queue
        self,
        scope: Construct,
        id: str,
        *,
        count: int = 1,
        retention: cdk.Duration,
        visibility_timeout: cdk.Duration,
        removal_policy: cdk.RemovalPolicy,
        encryption_key: kms.IKey | None = None,
    ) -> None:
        super().__init__(scope, id)
        self._key = encryption_key
        names = ("Results", *(f"Results{number}" for number in range(2, count + 1)))
        *results, self.dead_letters, self.failures = (
            sqs.Queue(
                self,
                name,
                encryption=(
                    sqs.QueueEncryption.KMS if encryption_key else sqs.QueueEncryption.SQS_MANAGED
                ),
                encryption_master_key=encryption_key,
                enforce_ssl=True,
                retention_period=kept,
                visibility_timeout=visibility_timeout,
                receive_message_wait_time=_LONG_POLL,
                removal_policy=removal_policy,
            )
            for name, kept in (
                *((name, retention) for name in names),
                ("DeadLetters", _EVIDENCE_RETENTION),
                ("Failures", _EVIDENCE_RETENTION),
            )
        )
        self.results = tuple(results)
        for queue in self.results:
            acknowledge(
                queue,
                SQS3="The scheduler that a result belongs to deletes it, however often another one "
                "has received it; the poller deletes and counts unreadable messages.",
            )
        acknowledge(
            self.failures,
            SQS3="The queue holds records of failures for people; nothing receives from it.",
        )

    def grant_send(self, grantee: iam.IGrantable) -> iam.Grant:
        """Let the handler send results."""
        return self._grant(grantee, ["sqs:SendMessage"], self.results)

    def grant_drain(self, grantee: iam.IGrantable) -> iam.Grant:
        """Let a scheduler receive results and dead letters, and delete them or hand them back."""
        return self._grant(grantee, list(_DRAIN), (*self.results, self.dead_letters))

    def grant_watch(self, grantee: iam.IGrantable) -> iam.Grant:
        """Let an API server count all messages, and let people look after dead letters in it."""
        counts = self._grant(grantee, ["sqs:GetQueueAttributes"], self.results)
        return counts.combine(self._grant(grantee, list(_DRAIN), (self.dead_letters,)))

    def _grant(
        self, grantee: iam.IGrantable, actions: list[str], queues: tuple[sqs.Queue, ...]
    ) -> iam.Grant:
        grant = iam.Grant.add_to_principal(
            grantee=grantee, actions=actions, resource_arns=[queue.queue_arn for queue in queues]
        )
        if self._key:
            sends = "sqs:SendMessage" in actions
            # https://docs.aws.amazon.com/AWSSimpleQueueService/latest/SQSDeveloperGuide/sqs-key-management.html#sqs-what-permissions-for-sse
            use = ["kms:Decrypt", "kms:GenerateDataKey"] if sends else ["kms:Decrypt"]
            grant = grant.combine(self._key.grant(grantee, *use))
        return grant
