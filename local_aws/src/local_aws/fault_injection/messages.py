"""What can happen to messages of SQS, which neither their sender nor their receiver can see.

A standard queue delivers at least once and in any order; SQS neither loses nor spoils messages.
https://docs.aws.amazon.com/AWSSimpleQueueService/latest/SQSDeveloperGuide/standard-queues-at-least-once-delivery.html
"""

from __future__ import annotations

import hashlib
import time
from typing import Any

from ministack.services import sqs

from local_aws.fault_injection.faults import Faults
from local_aws.fault_injection.rules import (
    OF_RECEIVED_MESSAGES,
    OF_SENT_MESSAGES,
    RECEIVE_MESSAGE,
    SEND_MESSAGE,
    Rule,
)

_Record = dict[str, Any]


def install(faults: Faults) -> None:
    """Let faults happen to messages; after the fixes, one of which replaces ReceiveMessage."""
    _install_in_send(faults)
    _install_in_receive(faults)


def _install_in_send(faults: Faults) -> None:
    stock = sqs._act_send_message

    def send_message(request: _Record, url: str) -> _Record:
        answer: _Record = stock(request, url)
        if faults.concern("sqs"):
            queue = sqs._get_q(request.get("QueueUrl", url))
            if hit := faults.hit(SEND_MESSAGE, OF_SENT_MESSAGES, queue["name"]):
                _spoil(queue, answer["MessageId"], hit.rule)
        return answer

    # SendMessageBatch calls the first for each of its entries.
    sqs._act_send_message = sqs._HANDLERS["SendMessage"] = send_message


def _install_in_receive(faults: Faults) -> None:
    stock = sqs._HANDLERS["ReceiveMessage"]

    async def receive_message(request: _Record, url: str) -> _Record:
        answer: _Record = await stock(request, url)
        if answer and faults.concern("sqs"):
            queue = sqs._get_q(request.get("QueueUrl", url))
            for received in answer["Messages"]:
                if faults.hit(RECEIVE_MESSAGE, OF_RECEIVED_MESSAGES, queue["name"]):
                    _store_again(queue, received["MessageId"])
        return answer

    sqs._HANDLERS["ReceiveMessage"] = receive_message


def _spoil(queue: _Record, message_id: str, rule: Rule) -> None:
    """Do to the message that was just stored what a rule says."""
    message = _stored(queue, message_id)
    if message is None:
        return
    match rule.fault:
        case "lost":
            queue["messages"].remove(message)
        case "duplicated":
            _store_again(queue, message_id)
        case "delayed":
            message["visible_at"] = time.time() + rule.delay_s
        case _:
            message["body"] = body = message["body"][: len(message["body"]) // 2]
            # Clients of other languages refuse a message whose digest is not that of its body.
            message["md5_body"] = hashlib.md5(body.encode(), usedforsecurity=False).hexdigest()


def _store_again(queue: _Record, message_id: str) -> None:
    """Store a second copy that can be received at once, under the same id."""
    if message := _stored(queue, message_id):
        queue["messages"].append({**message, "receipt_handle": None, "visible_at": time.time()})
        sqs.esm_wake.set()


def _stored(queue: _Record, message_id: str) -> _Record | None:
    """The newest message with this id."""
    return next((m for m in reversed(queue["messages"]) if m["id"] == message_id), None)
