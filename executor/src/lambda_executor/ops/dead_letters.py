"""Reads, deletes and retries messages that stay in the dead-letter queue.

The scheduler that sent an invocation takes its dead letter within seconds and fails the task. A
message that stays belongs to a scheduler that is gone, or is not about an invocation.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Protocol, Self

from lambda_executor.contract.errors import AwsError, DecodeError, RouteError
from lambda_executor.contract.wire import DeadLetter, Invocation, dead_event
from lambda_executor.core.outgoing import token_expiry_s
from lambda_executor.core.ports import BATCH, FunctionInvoker, Message, Queue
from lambda_executor.core.routing import Routes
from lambda_executor.core.targets import FunctionTarget

#: Seconds for which a received message is hidden; it is handed back long before.
HIDDEN_S = 300
#: Seconds after which receiving ends although the queue may hold more.
RECEIVING_S = 60
#: The least seconds for which a token must still be valid when its invocation is sent again.
MARGIN_S = 15
#: The reason against a retry of what Airflow has no task in flight for.
NOT_AWAITED = "Airflow does not wait for it: its task has ended, or was dispatched again"


class HeldQueue(Queue, Protocol):
    """A queue whose messages can be hidden for a given time."""

    def receive(self, wait_s: int, hidden_s: int | None = None) -> Sequence[Message]:
        """Return up to `BATCH` messages, hidden for `hidden_s` seconds."""


@dataclass(frozen=True, slots=True)
class TaskName:
    """One try of one task."""

    dag_id: str
    run_id: str
    task_id: str
    map_index: int
    try_number: int

    def __str__(self) -> str:
        mapped = f"[{self.map_index}]" if self.map_index >= 0 else ""
        return f"{self.dag_id}.{self.task_id}{mapped} {self.run_id} try {self.try_number}"


@dataclass(frozen=True, slots=True)
class Awaited:
    """A task that Airflow waits for under some dispatch id.

    Attributes:
        state: `queued` before its start, `running` after it.
    """

    task: TaskName
    state: str
    queue: str | None


@dataclass(frozen=True, slots=True)
class Entry:
    """One message of the dead-letter queue.

    Attributes:
        message: The message; holds a token.
        letter: The dead letter; None if the message is not about an invocation.
        reason: Lambda's reason, or why the message is not about an invocation.
        task: The task, if the event contains it.
    """

    message: Message = field(repr=False)
    letter: DeadLetter | None
    reason: str
    task: TaskName | None

    @classmethod
    def read(cls, message: Message) -> Entry:
        """Read one message with any content."""
        try:
            letter = DeadLetter.decode(message.body, message.attributes)
        except DecodeError as e:
            return cls(message, None, f"not an invocation: {e}", None)
        return cls(message, letter, letter.reason, _task(message.body))

    def age_s(self, now_s: float) -> float | None:
        """Seconds since Lambda gave up."""
        return None if self.message.sent_at_s is None else max(0.0, now_s - self.message.sent_at_s)


class HeldMessages:
    """Messages that stay hidden until the `with` block ends.

    Args:
        limit: The most messages to hold at once; the last receive may exceed it.
    """

    def __init__(
        self, queue: HeldQueue, limit: int, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._queue = queue
        self._limit = limit
        self._clock = clock
        self._held: dict[str, None] = {}

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        for batch in _batches(list(self._held)):
            self._queue.hand_back(batch, 0)

    def entries(self) -> Iterator[Entry]:
        """Receive until no message is visible, or the limit or `RECEIVING_S` is reached."""
        until_s = self._clock() + RECEIVING_S
        while len(self._held) < self._limit and self._clock() < until_s:
            # Waiting a second makes SQS query all of its servers, so an empty answer is reliable.
            messages = self._queue.receive(1, HIDDEN_S)
            if not messages:
                return
            self._held |= dict.fromkeys(message.receipt for message in messages)
            for message in messages:
                yield Entry.read(message)

    def delete(self, entries: Sequence[Entry]) -> int:
        """Delete entries; return how many were refused."""
        refused = 0
        for batch in _batches([entry.message.receipt for entry in entries]):
            refused += self._queue.delete(batch)
            for receipt in batch:
                self._held.pop(receipt, None)
        return refused


def reason_against(entry: Entry, awaited: Awaited | None, now_s: float) -> str:
    """Return the reason against sending an invocation again; empty if there is none.

    A retry is useful, and harmless, only while Airflow waits for the start of exactly this dispatch
    and its token is valid.
    """
    if entry.letter is None:
        return "it is no invocation"
    if awaited is None:
        return NOT_AWAITED
    if awaited.state != "queued":
        return f"its task is {awaited.state}: it has started, and Airflow's heartbeat ends it"
    return _reason_of_token(entry.message.body, now_s)


def _reason_of_token(body: str, now_s: float) -> str:
    try:
        invocation = Invocation.decode(dead_event(body))
        token = json.loads(invocation.workload_json)["token"]
    except (DecodeError, ValueError, KeyError, TypeError, RecursionError):
        return "its event does not carry the workload: clear the task instead"
    expiry_s = invocation.not_after_s or token_expiry_s(str(token))
    if expiry_s is None:
        return "its token does not tell until when it is good: clear the task instead"
    if now_s + MARGIN_S >= expiry_s:
        return f"its token is good for {max(0.0, expiry_s - now_s):.0f} s: clear the task instead"
    return ""


def send_again(
    entry: Entry, awaited: Awaited, routes: Routes, functions: FunctionInvoker, held: HeldMessages
) -> str:
    """Send an invocation again under its dispatch id; return the reason if that failed, or "".

    Its dead letter is deleted only after that, so that a failure does not lose both.
    """
    event = dead_event(entry.message.body)
    try:
        target = routes.target(awaited.queue, Invocation.decode(event).executor_config)
        if not isinstance(target, FunctionTarget):
            return (
                f"not sent: its task's target is not a function any more ({target}); clear the task"
            )
        functions.invoke(target, json.dumps(event, separators=(",", ":")).encode())
    except (AwsError, DecodeError, RouteError) as e:
        return f"not sent: {e}"
    undeleted = "sent, but its dead letter could not be deleted and may fail the task"
    try:
        return undeleted if held.delete([entry]) else ""
    except AwsError as e:
        return f"{undeleted}: {e}"


def _task(body: str) -> TaskName | None:
    """The task in an event's workload; None if there is none."""
    try:
        ti = json.loads(Invocation.decode(dead_event(body)).workload_json)["ti"]
        map_index = -1 if ti.get("map_index") is None else ti["map_index"]
        name = TaskName(ti["dag_id"], ti["run_id"], ti["task_id"], map_index, ti["try_number"])
        return name if isinstance(name.dag_id, str) and str(name) else None
    except (DecodeError, ValueError, KeyError, TypeError, AttributeError, RecursionError):
        return None


def _batches(receipts: list[str]) -> Iterator[list[str]]:
    for first in range(0, len(receipts), BATCH):
        yield receipts[first : first + BATCH]
