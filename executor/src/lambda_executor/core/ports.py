"""What the dispatcher and the poller need of the world, as protocols.

The package `aws` implements them with boto3, `testing.py` in memory. Implementations translate
every failure into an error of `lambda_executor.contract.errors`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol

from lambda_executor.core.routing import Target

#: Messages of one receive or one batch call, at most; a full receive means that more is waiting.
#: https://docs.aws.amazon.com/AWSSimpleQueueService/latest/APIReference/API_ReceiveMessage.html
BATCH = 10
#: The longest that a queue holds a receive open: fewest calls when nothing comes.
LONG_POLL_S = 20


@dataclass(frozen=True, slots=True)
class Message:
    """One message as a queue delivers it.

    Attributes:
        body: The text, possibly a secret: never logged.
        receipt: What deletes or hands back this delivery.
        receive_count: How often it was delivered, this time included.
        attributes: Message attributes, name to string value.
        sent_at_s: When it was sent, in seconds since the epoch; None: the queue does not say.
    """

    body: str = field(repr=False)
    receipt: str = field(repr=False)
    receive_count: int = 1
    attributes: Mapping[str, str] = field(default_factory=dict, repr=False)
    sent_at_s: float | None = None


class FunctionInvoker(Protocol):
    """Sends invocations to functions. Called from many threads at once."""

    def invoke(self, target: Target, payload: bytes) -> None:
        """Hand one payload to Lambda, asynchronously.

        Raises:
            AwsError: One of its kinds; nothing else.
        """


class PayloadStore(Protocol):
    """Keeps what is too large for one event. Called from many threads at once."""

    @property
    def bucket(self) -> str:
        """Where the other side finds it."""

    def put(self, key: str, payload: bytes) -> None:
        """Keep one payload under a key, in the place of an earlier one.

        Raises:
            AwsError: One of its kinds; nothing else.
        """


class Queue(Protocol):
    """One SQS queue. Called from several threads at once."""

    @property
    def name(self) -> str:
        """What a log line calls it."""

    def receive(self, wait_s: int) -> Sequence[Message]:
        """Up to `BATCH` messages; waits up to `wait_s` seconds for the first.

        Args:
            wait_s: At most `LONG_POLL_S`.

        Raises:
            AwsError: One of its kinds; nothing else.
        """

    def delete(self, receipts: Sequence[str]) -> int:
        """Delete up to `BATCH` deliveries; returns how many AWS refused.

        Raises:
            AwsError: One of its kinds; nothing else.
        """

    def hand_back(self, receipts: Sequence[str], delay_s: int) -> None:
        """Make up to `BATCH` deliveries visible again for others after `delay_s` seconds.

        Raises:
            AwsError: One of its kinds; nothing else.
        """


@dataclass(frozen=True, slots=True)
class Endpoints:
    """What the executors of one environment send to and receive from.

    Attributes:
        functions: Takes invocations.
        results: The results queues, of which each scheduler has one for itself.
        dead_letters: The dead-letter queue, which all schedulers share.
        payloads: Takes what is too large for one event; None: there is no such place.
    """

    functions: FunctionInvoker
    results: Sequence[Queue]
    dead_letters: Queue
    payloads: PayloadStore | None = None
