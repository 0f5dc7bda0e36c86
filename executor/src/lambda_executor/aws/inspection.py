"""Reads the functions and queues that the options name. Its only invocation is a probe."""

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
from lambda_executor.core.targets import FunctionTarget

#: Lambda's defaults for asynchronous invocations.
#: https://docs.aws.amazon.com/lambda/latest/dg/invocation-async-error-handling.html
DEFAULT_RETRIES = 2
DEFAULT_EVENT_AGE_S = 21_600
#: Lambda's default time-out of a function.
#: https://docs.aws.amazon.com/lambda/latest/api/API_CreateFunction.html
DEFAULT_TIMEOUT_S = 3
#: Lambda's default memory of a function, and its default size of /tmp, both in MiB.
#: https://docs.aws.amazon.com/lambda/latest/api/API_CreateFunction.html
DEFAULT_MEMORY_MB = 128
DEFAULT_TMP_MB = 512


@dataclass(frozen=True, slots=True)
class AccountFacts:
    """Lambda's limits of the account, in one Region."""

    concurrency: int  # The most invocations of all functions at once.
    unreserved: int  # The part of it that no function has reserved.


@dataclass(frozen=True, slots=True)
class FunctionFacts:
    """One function, or one version of it."""

    state: str  # `Active`, `Pending`, `Inactive` or `Failed`.
    state_reason: str
    last_update: str  # `Successful`, `InProgress` or `Failed`.
    last_update_reason: str
    timeout_s: int
    dead_letter_arn: str  # Empty: it has no dead-letter queue.
    snapshot: str = ""  # `On`, or `Off` if only other versions have one. Empty: none is asked for.
    memory_mb: int = DEFAULT_MEMORY_MB
    tmp_mb: int = DEFAULT_TMP_MB


@dataclass(frozen=True, slots=True)
class EventFacts:
    """Lambda's settings for the asynchronous invocations of a function, or of one version of it."""

    retries: int
    age_s: int  # How long Lambda keeps an invocation that it cannot start.
    destination_arn: str  # Empty: there is no on-failure destination.
    exist: bool = True  # False: nobody has set any of them.


@dataclass(frozen=True, slots=True)
class QueueFacts:
    """One queue, with approximate numbers of its messages."""

    arn: str
    visible: int
    hidden: int  # Received, and neither deleted nor handed back yet.
    retention_s: int
    visibility_timeout_s: int


@dataclass(frozen=True, slots=True)
class ProbeReply:
    """The answer to a probe."""

    payload: bytes  # The function's return value, or Lambda's description of its failure.
    failure: str = ""  # The type of the function's error; empty: it did not fail.
    message: str = ""


class Inspection:
    """Reads from AWS. Every method raises `AwsError` when AWS does not answer."""

    def __init__(self, clients: Clients) -> None:
        self._clients = clients

    def caller(self) -> str:
        """Return the ARN of the identity that the credentials belong to."""
        with self._clients.errors():
            return self._clients.sts.get_caller_identity()["Arn"]

    def account(self) -> AccountFacts:
        """Read Lambda's limits of the account."""
        with self._clients.errors():
            limits = self._clients.function.get_account_settings()["AccountLimit"]
        return AccountFacts(
            limits["ConcurrentExecutions"], limits["UnreservedConcurrentExecutions"]
        )

    def reserved_concurrency(self, target: FunctionTarget) -> int | None:
        """Read the reserved concurrency of a function; None: it has none, 0: it is paused."""
        with self._clients.errors():
            found = self._clients.function.get_function(**named(target))
        return found.get("Concurrency", {}).get("ReservedConcurrentExecutions")

    def function(self, target: FunctionTarget) -> FunctionFacts:
        """Read the configuration of a function, or of one version of it."""
        found = self._configuration(target)
        snap_start = found.get("SnapStart", {})
        asked = snap_start.get("ApplyOn", "None") != "None"
        return FunctionFacts(
            # Emulators may omit the states, the time-out and the sizes.
            state=found.get("State", "Active"),
            state_reason=found.get("StateReason", ""),
            last_update=found.get("LastUpdateStatus", "Successful"),
            last_update_reason=found.get("LastUpdateStatusReason", ""),
            timeout_s=found.get("Timeout", DEFAULT_TIMEOUT_S),
            dead_letter_arn=found.get("DeadLetterConfig", {}).get("TargetArn", ""),
            snapshot=snap_start.get("OptimizationStatus", "Off") if asked else "",
            memory_mb=found.get("MemorySize", DEFAULT_MEMORY_MB),
            tmp_mb=found.get("EphemeralStorage", {}).get("Size", DEFAULT_TMP_MB),
        )

    def events(self, target: FunctionTarget) -> EventFacts:
        """Read the settings for a function's asynchronous invocations."""
        found: Any = {}  # A function without settings has Lambda's defaults.
        with self._clients.errors():
            client = self._clients.function
            with suppress(client.exceptions.ResourceNotFoundException):
                found = client.get_function_event_invoke_config(**named(target))
        destination = found.get("DestinationConfig", {}).get("OnFailure", {})
        return EventFacts(
            retries=found.get("MaximumRetryAttempts", DEFAULT_RETRIES),
            age_s=found.get("MaximumEventAgeInSeconds", DEFAULT_EVENT_AGE_S),
            destination_arn=destination.get("Destination", ""),
            exist=bool(found),
        )

    def queue(self, url: str) -> QueueFacts:
        """Read the attributes of a queue."""
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

    def probe(self, target: FunctionTarget, dag_files: probe.DagFiles | None = None) -> ProbeReply:
        """Send a probe to a function, which may ask for DAG files, and wait for the answer."""
        with self._clients.errors():
            tenant: dict[str, Any] = {"TenantId": target.tenant} if target.tenant else {}
            answer = self._clients.function.invoke(
                **named(target),
                InvocationType="RequestResponse",
                Payload=probe.event(dag_files),
                **tenant,
            )
            payload = answer["Payload"].read()
        if not answer.get("FunctionError"):
            return ProbeReply(payload)
        try:
            error = json.loads(payload)
        except (ValueError, RecursionError):
            error = None
        error = error if isinstance(error, dict) else {}
        kind = str(error.get("errorType") or answer["FunctionError"])
        return ProbeReply(payload, kind, str(error.get("errorMessage") or ""))

    def _configuration(self, target: FunctionTarget) -> Mapping[str, Any]:
        try:
            with self._clients.errors():
                return self._clients.function.get_function_configuration(**named(target))
        except RejectedError:
            # A role made for AwsLambdaExecutor has only the permission that it uses.
            with suppress(AwsError), self._clients.errors():
                return self._clients.function.get_function(**named(target))["Configuration"]
            raise
