"""The way back from the function: the queues of results and of dead letters as one thing."""

from __future__ import annotations

import aws_cdk as cdk
from aws_cdk import aws_iam as iam
from aws_cdk import aws_sqs as sqs
from constructs import Construct

from stacks.acknowledge import acknowledge

#: The longest that SQS keeps a message: a dead letter is evidence.
_DEAD_LETTER_RETENTION = cdk.Duration.days(14)

#: The longest that SQS lets a receive wait: the fewest empty ones.
_LONG_POLL = cdk.Duration.seconds(20)


class ResultsQueue(Construct):
    """Results from the handler, and dead letters from Lambda.

    Args:
        scope: The parent.
        id: The construct's id.
        count: How many results queues, one for each scheduler that runs at the same time.
        retention: How long a result waits for a scheduler.
        visibility_timeout: How long a received one is hidden from other schedulers.
        removal_policy: What becomes of the queues when they leave the stack.

    Attributes:
        results: The handler sends to the one that an invocation names, or else to the first.
        dead_letters: Lambda sends to it what it gave up on.
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
    ) -> None:
        super().__init__(scope, id)
        names = ("Results", *(f"Results{number}" for number in range(2, count + 1)))
        *results, self.dead_letters = (
            sqs.Queue(
                self,
                name,
                encryption=sqs.QueueEncryption.SQS_MANAGED,
                enforce_ssl=True,
                retention_period=kept,
                visibility_timeout=visibility_timeout,
                receive_message_wait_time=_LONG_POLL,
                removal_policy=removal_policy,
            )
            for name, kept in (
                *((name, retention) for name in names),
                ("DeadLetters", _DEAD_LETTER_RETENTION),
            )
        )
        self.results = tuple(results)
        for queue in self.results:
            acknowledge(
                queue,
                SQS3="A result is taken off by the scheduler it belongs to, however often another "
                "one has seen it; the poller removes and counts what nobody can read.",
            )

    def grant_send(self, grantee: iam.IGrantable) -> iam.Grant:
        """Let the handler send results, and nothing else."""
        return iam.Grant.add_to_principal(
            grantee=grantee,
            actions=["sqs:SendMessage"],
            resource_arns=[queue.queue_arn for queue in self.results],
        )

    def grant_drain(self, grantee: iam.IGrantable) -> iam.Grant:
        """Let a scheduler take results and dead letters off, or hand them back."""
        return iam.Grant.add_to_principal(
            grantee=grantee,
            actions=[
                "sqs:ChangeMessageVisibility",
                "sqs:DeleteMessage",
                "sqs:GetQueueAttributes",
                "sqs:ReceiveMessage",
            ],
            resource_arns=[queue.queue_arn for queue in (*self.results, self.dead_letters)],
        )
