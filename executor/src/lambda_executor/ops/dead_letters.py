"""Looking after what nobody took from the dead-letter queue.

The scheduler that sent an invocation takes its dead letter within seconds and fails the task. What
stays belongs to a scheduler that is gone, or is no invocation. It must not know Airflow: which
tasks are still waited for is given to it as `Awaited`.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from types import TracebackType
from typing import Protocol, Self

from lambda_executor.contract.errors import AwsError, DecodeError, RouteError
from lambda_executor.contract.wire import DeadLetter, Invocation, dead_event
from lambda_executor.core.outgoing import token_expiry_s
from lambda_executor.core.ports import BATCH, FunctionInvoker, Message, Queue
from lambda_executor.core.routing import Routes

#: For how long a message is hidden while it is looked at; it is handed back long before.
HIDDEN_S = 300
#: When looking ends although the queue holds more.
LOOK_S = 60
#: What a token must at least be good for when its invocation is sent again.
MARGIN_S = 15


class HeldQueue(Queue, Protocol):
    """The dead-letter queue, which hides messages for as long as it is told."""

    def receive(self, wait_s: int, hidden_s: int | None = None) -> Sequence[Message]:
        """Up to ten messages."""


@dataclass(frozen=True, slots=True)
class TaskName:
    """One try of one task, as a person calls it."""

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
    """A task that Airflow holds to be in flight under some dispatch id.

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
        letter: What it says; None: it is no dead letter of an invocation.
        reason: Lambda's, or why it is none.
        task: The task as a person calls it, as far as the event tells.
    """

    message: Message = field(repr=False)
    letter: DeadLetter | None
    reason: str
    task: str

    @classmethod
    def read(cls, message: Message) -> Entry:
        """Read one message, whatever it holds."""
        try:
            letter = DeadLetter.decode(message.body, message.attributes)
        except DecodeError as e:
            return cls(message, None, f"not an invocation: {e}", "")
        return cls(message, letter, letter.reason, _task(message.body))

    def age_s(self, now_s: float) -> float | None:
        """Seconds since Lambda gave up."""
        return None if self.message.sent_at_s is None else max(0.0, now_s - self.message.sent_at_s)


class Look:
    """Messages that are held while they are looked at, and visible again when the block ends.

    Args:
        limit: How many are held at the same time, at most.
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

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        for batch in _batches(list(self._held)):
            self._queue.hand_back(batch, 0)

    def entries(self) -> Iterator[Entry]:
        """What is visible, until there is no more of it, or the limit or the time is reached."""
        until_s = self._clock() + LOOK_S
        while len(self._held) < self._limit and self._clock() < until_s:
            # One second lets SQS ask all of its servers: no answer then means that there is none.
            messages = self._queue.receive(1, HIDDEN_S)
            if not messages:
                return
            self._held |= dict.fromkeys(message.receipt for message in messages)
            for message in messages:
                yield Entry.read(message)

    def delete(self, entries: Sequence[Entry]) -> int:
        """Delete entries; returns how many were refused."""
        refused = 0
        for batch in _batches([entry.message.receipt for entry in entries]):
            refused += self._queue.delete(batch)
            for receipt in batch:
                self._held.pop(receipt, None)
        return refused


def obstacle(entry: Entry, awaited: Awaited | None, now_s: float) -> str:
    """Why an invocation must not be sent again; empty: it may.

    Sending it again is only of use, and can do no harm, while Airflow waits for the start of this
    very dispatch and its token lets it start.
    """
    if entry.letter is None:
        return "it is no invocation"
    if awaited is None:
        return "Airflow does not wait for it: its task has ended, or was dispatched again"
    if awaited.state != "queued":
        return f"its task is {awaited.state}: it has started, and Airflow's heartbeat ends it"
    return _token_obstacle(entry.message.body, now_s)


def _token_obstacle(body: str, now_s: float) -> str:
    try:
        invocation = Invocation.decode(dead_event(body))
        token = json.loads(invocation.workload_json)["token"]
    except (DecodeError, ValueError, KeyError, TypeError):
        return "its event does not carry the workload: clear the task instead"
    expiry_s = invocation.not_after_s or token_expiry_s(str(token))
    if expiry_s is None:
        return "its token does not tell until when it is good: clear the task instead"
    if now_s + MARGIN_S >= expiry_s:
        return f"its token is good for {max(0.0, expiry_s - now_s):.0f} s: clear the task instead"
    return ""


def send_again(
    entry: Entry, awaited: Awaited, routes: Routes, functions: FunctionInvoker, look: Look
) -> str:
    """Send an invocation again under its own dispatch id; returns what went wrong, if anything.

    Its dead letter is deleted after that: were it deleted before, a failure would lose both.
    """
    event = dead_event(entry.message.body)
    try:
        target = routes.target(awaited.queue, Invocation.decode(event).executor_config)
        functions.invoke(target, json.dumps(event, separators=(",", ":")).encode())
    except (AwsError, DecodeError, RouteError) as e:
        return f"not sent: {e}"
    try:
        refused = look.delete([entry])
    except AwsError as e:
        return f"sent, but its dead letter could not be deleted and may fail the task: {e}"
    if refused:
        return "sent, but its dead letter could not be deleted and may fail the task"
    return ""


def _task(body: str) -> str:
    """The task in the event, by what a workload's JSON says; empty: it is none."""
    try:
        ti = json.loads(Invocation.decode(dead_event(body)).workload_json)["ti"]
        map_index = ti.get("map_index")
        number = -1 if map_index is None else map_index
        name = TaskName(ti["dag_id"], ti["run_id"], ti["task_id"], number, ti["try_number"])
        return str(name)
    except (DecodeError, ValueError, KeyError, TypeError, AttributeError):
        return ""


def _batches(receipts: list[str]) -> Iterator[list[str]]:
    for first in range(0, len(receipts), BATCH):
        yield receipts[first : first + BATCH]
