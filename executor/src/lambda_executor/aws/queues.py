"""Receives, deletes and hands back the messages of SQS queues."""

from __future__ import annotations

import logging
import time
from collections.abc import Mapping, Sequence
from email.utils import parsedate_to_datetime
from functools import partial
from typing import TYPE_CHECKING, Any

from lambda_executor.aws.clients import Clients
from lambda_executor.core.clocks import ServerClock
from lambda_executor.core.ports import BATCH, Message

if TYPE_CHECKING:
    from mypy_boto3_sqs.type_defs import MessageTypeDef, ReceiveMessageRequestTypeDef

log = logging.getLogger(__name__)

#: Seconds to wait for an answer, beside what SQS is asked to wait for a message.
ANSWER_S = 10.0
#: boto3's names of the calls.
_METHODS = {"ReceiveMessage": "receive_message", "DeleteMessageBatch": "delete_message_batch"}


class SqsQueue:
    """One SQS queue; a `ports.Queue`."""

    def __init__(self, clients: Clients, url: str) -> None:
        self._clients = clients
        self._url = url
        self._clock = ServerClock()
        self.name = url.rsplit("/", 1)[-1]

    def receive(self, wait_s: int, hidden_s: int | None = None) -> Sequence[Message]:
        """Return up to `BATCH` messages; wait up to `wait_s` seconds for the first.

        Args:
            wait_s: At most `LONG_POLL_S`.
            hidden_s: Seconds for which they are hidden; None: the queue's visibility time-out.
        """
        request: ReceiveMessageRequestTypeDef = {
            "QueueUrl": self._url,
            "MaxNumberOfMessages": BATCH,
            "WaitTimeSeconds": wait_s,
            "MessageSystemAttributeNames": ["ApproximateReceiveCount", "SentTimestamp"],
            "MessageAttributeNames": ["All"],
        }
        if hidden_s is not None:
            request["VisibilityTimeout"] = hidden_s
        asked_s = time.time()
        answer = self._call("ReceiveMessage", request, wait_s)
        if (date_s := _date_s(answer)) is not None:
            self._clock.heard(asked_s, date_s, time.time())
        return [_message(message, self._clock) for message in answer.get("Messages", [])]

    def delete(self, receipts: Sequence[str]) -> int:
        """Delete up to `BATCH` messages by their receipts; return how many AWS refused."""
        entries = [{"Id": str(n), "ReceiptHandle": one} for n, one in enumerate(receipts)]
        answer = self._call("DeleteMessageBatch", {"QueueUrl": self._url, "Entries": entries})
        return self._refused("delete", answer.get("Failed", []))

    def hand_back(self, receipts: Sequence[str], delay_s: int) -> None:
        """Make up to `BATCH` messages visible to others after `delay_s` seconds."""
        with self._clients.errors():
            answer = self._clients.sqs.change_message_visibility_batch(
                QueueUrl=self._url,
                Entries=[
                    {"Id": str(n), "ReceiptHandle": receipt, "VisibilityTimeout": delay_s}
                    for n, receipt in enumerate(receipts)
                ],
            )
        self._refused("hand back", answer.get("Failed", []))

    def _call(self, operation: str, request: Mapping[str, Any], wait_s: float = 0) -> Any:  # noqa: ANN401 - AWS's answer
        """Make a call; boto3 makes it, with its retries, if the first try fails.

        Both calls may be made twice: what was received is delivered again later, and what was
        deleted is gone.
        """
        with self._clients.errors():
            native = self._clients.native("sqs")
            ask = partial(_ask, _METHODS[operation], request)
            answer = native.call_json(operation, ask, request, wait_s + ANSWER_S)
            if answer is None:
                answer = ask(self._clients.sqs)
                native.rescued(succeeded=True)
            return answer

    def _refused(self, verb: str, failed: Sequence[Any]) -> int:
        for entry in failed:
            log.warning("%s: could not %s a message: %s", self.name, verb, entry.get("Message"))
        return len(failed)


def _ask(method: str, request: Mapping[str, Any], client: Any) -> Any:  # noqa: ANN401 - one of _METHODS
    return getattr(client, method)(**request)


def _date_s(answer: Mapping[str, Any]) -> float | None:
    """When AWS wrote an answer, by its clock; None: it does not say."""
    try:
        date = parsedate_to_datetime(answer["ResponseMetadata"]["HTTPHeaders"]["date"])
    except (KeyError, ValueError, OverflowError):  # A proxy may have changed it.
        return None
    return date.timestamp() if date.tzinfo else None


def _message(message: MessageTypeDef, clock: ServerClock) -> Message:
    system = message.get("Attributes", {})
    sent_at_ms = system.get("SentTimestamp")
    return Message(
        body=message["Body"],
        receipt=message["ReceiptHandle"],
        receive_count=int(system.get("ApproximateReceiveCount", "1")),
        attributes={
            name: value.get("StringValue", "")
            for name, value in message.get("MessageAttributes", {}).items()
        },
        sent_at_s=clock.ours(int(sent_at_ms) / 1000) if sent_at_ms else None,
    )
