"""The protocols through which the dispatcher and the pollers reach AWS.

The package `aws` implements them with boto3 and awscrt, `testing.py` in memory. Implementations
translate every failure into an error of `lambda_executor.contract.errors`.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol, runtime_checkable

from lambda_executor.contract.errors import AwsError
from lambda_executor.contract.wire import InvocationId
from lambda_executor.core.places import Limits
from lambda_executor.core.targets import FunctionTarget, JobTarget, Service

#: The most messages of one receive or batch call; after a full receive there may be more.
#: https://docs.aws.amazon.com/AWSSimpleQueueService/latest/APIReference/API_ReceiveMessage.html
BATCH = 10
#: Seconds. The longest time that SQS holds a receive open, so the fewest calls on an empty queue.
LONG_POLL_S = 20


@dataclass(frozen=True, slots=True)
class Message:
    """One message as a queue delivers it.

    Attributes:
        body: The text, possibly a secret: never logged.
        receipt: Deletes or hands back this delivery.
        receive_count: The number of deliveries so far, including this one.
        attributes: Message attributes, name to string value.
        sent_at_s: When it was sent, in seconds since the epoch, by our clock, which may differ from
            the queue's; None: the queue does not say.
    """

    body: str = field(repr=False)
    receipt: str = field(repr=False)
    receive_count: int = 1
    attributes: Mapping[str, str] = field(default_factory=dict, repr=False)
    sent_at_s: float | None = None


class FunctionInvoker(Protocol):
    """Sends invocations to functions. Called from many threads at once."""

    def invoke(self, target: FunctionTarget, payload: bytes) -> None:
        """Hand one payload to Lambda, asynchronously.

        Raises:
            AwsError: One of its kinds; nothing else.
        """


@runtime_checkable
class InvocationBeginner(FunctionInvoker, Protocol):
    """A `FunctionInvoker` that can also send without waiting for the answer."""

    def begin(
        self, target: FunctionTarget, payload: bytes, ended: Callable[[AwsError | None], None]
    ) -> bool:
        """Send one payload, and return at once whether it was begun; if not, `invoke` sends it.

        Args:
            target: The function.
            payload: The event.
            ended: Called once if it was begun, on any thread, with the error that `invoke` would
                have raised.

        Raises:
            AwsError: One of its kinds, and nothing else; then nothing was begun.
        """


class JobLauncher(Protocol):
    """Runs workloads as jobs of one service. Called from many threads at once.

    A job is found again by the dispatch id of its invocation, also by another scheduler: the
    implementation gives the id to the service (as a job's name, or who started a task).
    """

    def launch(
        self, target: JobTarget, id: InvocationId, event: bytes, overrides: Mapping[str, Any]
    ) -> None:
        """Start a job that runs the image's job entry point with an event.

        Args:
            target: Where.
            id: The dispatch id.
            event: The invocation, which points to its payload in the bucket; it holds no secret.
            overrides: What the task's `executor_config` adds to the request, or changes in it.

        Raises:
            RouteError: The overrides are not those of a request.
            AwsError: One of its kinds; nothing else.
        """

    def ended(self, target: JobTarget, ids: Collection[InvocationId]) -> Mapping[InvocationId, str]:
        """Return why each job has ended, for those that have; a reason is for the user.

        A job that waits, that runs, or of which the service knows nothing, is left out.

        Raises:
            AwsError: One of its kinds; nothing else.
        """

    def stop(self, target: JobTarget, id: InvocationId, reason: str) -> bool:
        """End a job, whether it waits or runs; return whether the service knows it.

        One that has ended, or never was, is no error.

        Raises:
            AwsError: One of its kinds; nothing else.
        """


class LimitReader(Protocol):
    """Finds out how many invocations the functions may run at once. Called on its own thread."""

    def read(self) -> Limits:
        """Return the limits as they are now; what cannot be found out is None.

        Raises:
            AwsError: One of its kinds; the limits that were read last stay in force.
        """


class PayloadStore(Protocol):
    """Keeps payloads too large for one event. Called from many threads at once."""

    @property
    def bucket(self) -> str:
        """The bucket from which the handler fetches them."""

    def put(self, key: str, payload: bytes) -> None:
        """Store one payload under a key, replacing an earlier one.

        Raises:
            AwsError: One of its kinds; nothing else.
        """


class Queue(Protocol):
    """One SQS queue. Called from several threads at once."""

    @property
    def name(self) -> str:
        """The name in log lines."""

    def receive(self, wait_s: int) -> Sequence[Message]:
        """Return up to `BATCH` messages; wait up to `wait_s` seconds for the first.

        Args:
            wait_s: At most `LONG_POLL_S`.

        Raises:
            AwsError: One of its kinds; nothing else.
        """

    def delete(self, receipts: Sequence[str]) -> int:
        """Delete up to `BATCH` messages by their receipts; return how many AWS refused.

        Raises:
            AwsError: One of its kinds; nothing else.
        """

    def hand_back(self, receipts: Sequence[str], delay_s: int) -> None:
        """Make up to `BATCH` messages visible to others after `delay_s` seconds.

        Raises:
            AwsError: One of its kinds; nothing else.
        """


@dataclass(frozen=True, slots=True)
class Endpoints:
    """The functions, queues and store that the executors of one stage share.

    Attributes:
        functions: Takes invocations.
        results: The results queues; each scheduler has its own.
        dead_letters: The dead-letter queue, which all schedulers share; None: no function is
            configured.
        payloads: Takes payloads too large for one event; None: there is no payload bucket.
        limits: Knows how many invocations the functions may run at once; None: nobody does.
        jobs: Runs jobs, for each service that a target needs.
    """

    functions: FunctionInvoker
    results: Sequence[Queue]
    dead_letters: Queue | None
    payloads: PayloadStore | None = None
    limits: LimitReader | None = None
    jobs: Mapping[Service, JobLauncher] = field(default_factory=dict)
