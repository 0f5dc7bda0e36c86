"""What AWS says about what the options name; reads only, and runs nothing but a probe."""

from __future__ import annotations

import json
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

from lambda_executor.aws.clients import Clients
from lambda_executor.aws.functions import named
from lambda_executor.contract import probe
from lambda_executor.contract.errors import AwsError, RejectedError
from lambda_executor.core.routing import Target

#: What Lambda does where nothing is set.
#: https://docs.aws.amazon.com/lambda/latest/dg/invocation-async-error-handling.html
DEFAULT_RETRIES = 2
DEFAULT_EVENT_AGE_S = 21_600


@dataclass(frozen=True, slots=True)
class FunctionFacts:
    """One function, or one version of it.

    Attributes:
        state: `Active`, `Pending`, `Inactive` or `Failed`.
        state_reason: Why, when it is not active.
        last_update: `Successful`, `InProgress` or `Failed`.
        last_update_reason: Why, when it failed.
        timeout_s: The longest that one invocation may take.
        dead_letter_arn: Its dead-letter queue; empty: it has none.
    """

    state: str
    state_reason: str
    last_update: str
    last_update_reason: str
    timeout_s: int
    dead_letter_arn: str


@dataclass(frozen=True, slots=True)
class EventFacts:
    """What Lambda does with the asynchronous invocations of a function, or of one version of it.

    Attributes:
        retries: How often it repeats one that failed.
        age_s: How long it keeps one that it cannot start.
        destination_arn: Where it reports one that it gave up on; empty: nowhere.
    """

    retries: int
    age_s: int
    destination_arn: str


@dataclass(frozen=True, slots=True)
class QueueFacts:
    """One queue.

    Attributes:
        visible: About how many messages wait to be received.
        hidden: About how many were received, and neither deleted nor handed back yet.
        retention_s: How long it keeps a message.
        visibility_timeout_s: How long a received message is hidden.
    """

    arn: str
    visible: int
    hidden: int
    retention_s: int
    visibility_timeout_s: int


@dataclass(frozen=True, slots=True)
class ProbeReply:
    """What came back from a probe.

    Attributes:
        payload: What the function returned; of a failure, Lambda's description of it.
        failure: The kind of the error that the function ended with; empty: it ended well.
        message: What the error says.
    """

    payload: bytes
    failure: str = ""
    message: str = ""


class Inspection:
    """Asks AWS. Every method raises `AwsError` when it gets no answer."""

    def __init__(self, clients: Clients) -> None:
        self._clients = clients

    def caller(self) -> str:
        """The ARN of whom the credentials belong to."""
        with self._clients.errors():
            return self._clients.sts.get_caller_identity()["Arn"]

    def function(self, target: Target) -> FunctionFacts:
        """One function, or one version of it."""
        found = self._configuration(target)
        return FunctionFacts(
            # Both are left out by whoever has no such states.
            state=found.get("State", "Active"),
            state_reason=found.get("StateReason", ""),
            last_update=found.get("LastUpdateStatus", "Successful"),
            last_update_reason=found.get("LastUpdateStatusReason", ""),
            timeout_s=found["Timeout"],
            dead_letter_arn=found.get("DeadLetterConfig", {}).get("TargetArn", ""),
        )

    def events(self, target: Target) -> EventFacts:
        """What Lambda does with a function's asynchronous invocations."""
        found: Any = {}  # And so it stays where Lambda's defaults hold.
        with self._clients.errors():
            client = self._clients.function
            with suppress(client.exceptions.ResourceNotFoundException):
                found = client.get_function_event_invoke_config(**named(target))
        destination = found.get("DestinationConfig", {}).get("OnFailure", {})
        return EventFacts(
            retries=found.get("MaximumRetryAttempts", DEFAULT_RETRIES),
            age_s=found.get("MaximumEventAgeInSeconds", DEFAULT_EVENT_AGE_S),
            destination_arn=destination.get("Destination", ""),
        )

    def queue(self, url: str) -> QueueFacts:
        """One queue."""
        with self._clients.errors():
            answer = self._clients.sqs.get_queue_attributes(
                QueueUrl=url,
                AttributeNames=[
                    "ApproximateNumberOfMessages",
                    "ApproximateNumberOfMessagesNotVisible",
                    "MessageRetentionPeriod",
                    "QueueArn",
                    "VisibilityTimeout",
                ],
            )
        attributes = answer["Attributes"]
        return QueueFacts(
            arn=attributes["QueueArn"],
            visible=int(attributes["ApproximateNumberOfMessages"]),
            hidden=int(attributes["ApproximateNumberOfMessagesNotVisible"]),
            retention_s=int(attributes["MessageRetentionPeriod"]),
            visibility_timeout_s=int(attributes["VisibilityTimeout"]),
        )

    def probe(self, target: Target) -> ProbeReply:
        """Ask a function what it is, and wait for the answer."""
        with self._clients.errors():
            tenant: dict[str, Any] = {"TenantId": target.tenant} if target.tenant else {}
            answer = self._clients.function.invoke(
                **named(target), InvocationType="RequestResponse", Payload=probe.EVENT, **tenant
            )
            payload = answer["Payload"].read()
        if not answer.get("FunctionError"):
            return ProbeReply(payload)
        try:
            told = json.loads(payload)
        except ValueError:
            told = None
        told = told if isinstance(told, dict) else {}
        kind = str(told.get("errorType") or answer["FunctionError"])
        return ProbeReply(payload, kind, str(told.get("errorMessage") or ""))

    def _configuration(self, target: Target) -> Mapping[str, Any]:
        try:
            with self._clients.errors():
                return self._clients.function.get_function_configuration(**named(target))
        except RejectedError:
            # A role that was made for AwsLambdaExecutor may ask as that does, and no other way.
            with suppress(AwsError), self._clients.errors():
                return self._clients.function.get_function(**named(target))["Configuration"]
            raise
