"""An AWS of a few services and a given latency, cheap enough to time an executor against.

It speaks the JSON protocols of Lambda's `Invoke`, of SQS and of the jobs of Batch, ECS and MicroVMs
(`fake_jobs.py`) over HTTP/1.1, and takes what is put into S3. A call takes the
latency, half of it on the way there and half on the way back; an accepted invocation becomes a
result after a duration drawn from the seed. Calls are counted, and for every result it is noted
when it became visible. It is no emulator: nothing is checked, nothing outlives it.

`python -m tests.bench.fake_aws '{"latency_s": 0.02}'` prints its port and serves until its
standard input closes. `GET /state` tells what happened so far.
"""

from __future__ import annotations

import asyncio
import hashlib
import itertools
import json
import random
import sys
import time
from collections import Counter, deque
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from tests.bench.fake_jobs import BATCH, ECS, MICROVM, Allowance, FakeJobs

#: The service of an invocation.
FUNCTION = "function"
#: The payload bucket.
BUCKET = "bench-payloads"
_ECS = "AmazonEC2ContainerService"
_BATCH, _MICRO_VMS = "/v1/", "/2025-09-09/microvms"
#: Where results go of an invocation that does not say.
DEFAULT_QUEUE = "results-0"
#: What a call is answered with: HTTP status and JSON, None for no content.
Answer = tuple[int, dict[str, Any] | None]


@dataclass(frozen=True, slots=True)
class Settings:
    """What one run is made of.

    Attributes:
        latency_s: What every call takes.
        shortest_s: The shortest run of a workload.
        longest_s: The longest; 0: the result is there as soon as the invocation is.
        invokes_per_s: More than these are throttled, after a burst of as many as a tenth; 0: none.
        seed: Of the runs' durations.
        places: How many invocations run at once; the others wait, first come, first served. 0: any.
        launches_per_s: The jobs a second that a service starts, by service; the others are
            throttled, after a burst of as many as a second's.
    """

    latency_s: float = 0.0
    shortest_s: float = 0.0
    longest_s: float = 0.0
    invokes_per_s: float = 0.0
    seed: int = 0
    places: int = 0
    launches_per_s: Mapping[str, float] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Message:
    """A message, and how often it was delivered."""

    number: int
    body: str
    deliveries: int = 0
    sent_at_s: float = field(default_factory=time.time)


@dataclass(slots=True)
class Queue:
    """Messages that are visible, and those that are with a receiver."""

    visible: deque[Message] = field(default_factory=deque)
    delivered: dict[str, Message] = field(default_factory=dict)
    arrival: asyncio.Event = field(default_factory=asyncio.Event)

    def put(self, message: Message) -> None:
        """Make a message visible."""
        self.visible.append(message)
        self.arrival.set()

    async def wait(self, seconds: float) -> None:
        """Wait for a message, so long at most."""
        deadline_s = time.monotonic() + seconds
        while not self.visible and (left_s := deadline_s - time.monotonic()) > 0:
            self.arrival.clear()
            try:
                await asyncio.wait_for(self.arrival.wait(), left_s)
            except TimeoutError:
                return

    def deliver(self, most: int) -> list[dict[str, Any]]:
        """Hand out so many messages at most, in SQS's words."""
        handed: list[dict[str, Any]] = []
        while self.visible and len(handed) < most:
            old = self.visible.popleft()
            message = Message(old.number, old.body, old.deliveries + 1, old.sent_at_s)
            receipt = f"{message.number}:{message.deliveries}"
            self.delivered[receipt] = message
            handed.append(
                {
                    "MessageId": str(message.number),
                    "ReceiptHandle": receipt,
                    "Body": message.body,
                    "Attributes": {
                        "ApproximateReceiveCount": str(message.deliveries),
                        "SentTimestamp": str(int(message.sent_at_s * 1000)),
                    },
                }
            )
        return handed

    def hand_back(self, receipt: str, delay_s: float) -> None:
        """Make a delivered message visible again after the delay."""
        if message := self.delivered.pop(receipt, None):
            asyncio.get_running_loop().call_later(delay_s, self.put, message)


class FakeAws:
    """One server with its queues and counters."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._random = random.Random(settings.seed)
        self._queues: dict[str, Queue] = {}
        self._calls: Counter[str] = Counter()
        self._visible_at_s: dict[str, float] = {}
        self._started_at_s: dict[str, float] = {}
        self._events: deque[tuple[str, str]] = deque()
        self._running = 0
        self._numbers = itertools.count()
        self._allowance = Allowance(settings.invokes_per_s, settings.invokes_per_s / 10)
        self._services: dict[str, str] = {}
        rates = {BATCH: 0.0, ECS: 0.0, MICROVM: 0.0, **settings.launches_per_s}
        self._jobs = FakeJobs(self._start_job, self._count, rates)
        self._sqs: dict[str, Callable[[Queue, dict[str, Any]], Awaitable[dict[str, Any]]]] = {
            "ReceiveMessage": self._receive,
            "DeleteMessage": self._delete,
            "DeleteMessageBatch": self._delete_batch,
            "ChangeMessageVisibility": self._change_visibility,
            "ChangeMessageVisibilityBatch": self._change_visibility_batch,
            "GetQueueAttributes": self._attributes,
            "SendMessage": self._send,
        }

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Answer the calls of one connection."""
        try:
            while True:
                head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1")
                request, *lines = head.rstrip().split("\r\n")
                headers = {
                    name.lower(): value
                    for name, _, value in (line.partition(": ") for line in lines)
                }
                if "expect" in headers:
                    writer.write(b"HTTP/1.1 100 Continue\r\n\r\n")
                body = await reader.readexactly(int(headers.get("content-length", "0")))
                path = request.split(" ")[1]
                await asyncio.sleep(self._settings.latency_s / 2)
                status, answer = await self._answer(path, headers, body)
                await asyncio.sleep(self._settings.latency_s / 2)
                payload = b"" if answer is None else json.dumps(answer).encode()
                writer.write(
                    f"HTTP/1.1 {status} -\r\ncontent-type: application/x-amz-json-1.0\r\n"
                    f"content-length: {len(payload)}\r\n\r\n".encode()
                    + payload
                )
                await writer.drain()
        except (asyncio.IncompleteReadError, asyncio.CancelledError, ConnectionError):
            pass
        finally:
            writer.close()

    async def _answer(self, path: str, headers: dict[str, str], body: bytes) -> Answer:
        if path == "/state":
            return 200, self._state()
        if path.startswith((_BATCH, _MICRO_VMS)):
            return self._answer_job(path, json.loads(body or b"{}"))
        if path.startswith(f"/{BUCKET}"):
            self._count("PutObject")
            return 200, None
        if "/invocations" in path:
            return self._invoke(json.loads(body))
        if "/functions/" in path:
            return 200, self._function(path)
        return await self._answer_json(headers["x-amz-target"], body)

    def _answer_job(self, path: str, request: dict[str, Any]) -> Answer:
        """Answer a call whose path names it."""
        if path.startswith(_BATCH):
            return self._jobs.batch(path.removeprefix(_BATCH), request)
        return self._jobs.micro_vm(path.removeprefix(_MICRO_VMS), request)

    async def _answer_json(self, target: str, body: bytes) -> Answer:
        """Answer a call whose header names it."""
        action = target.rsplit(".", 1)[-1]
        request = json.loads(body)
        if target.startswith(_ECS):
            return self._jobs.ecs(action, request)
        name = request["QueueUrl"].rsplit("/", 1)[-1]
        self._calls[action] += 1
        self._calls[f"{action} {name}"] += 1
        return 200, await self._sqs[action](self._queue(name), request)

    def _state(self) -> dict[str, Any]:
        return {
            "calls": dict(self._calls),
            "visible_at_s": self._visible_at_s,
            "started_at_s": self._started_at_s,
            "services": self._services,
        }

    def _function(self, path: str) -> dict[str, Any]:
        name = path.partition("/functions/")[2].partition("/")[0].partition("?")[0]
        function = {"FunctionName": name, "State": "Active", "Timeout": 900}
        reserved = {"ReservedConcurrentExecutions": self._settings.places or 1000}
        return {**function, "Configuration": function, "Concurrency": reserved}

    def _count(self, call: str) -> None:
        self._calls[call] += 1

    def _queue(self, name: str) -> Queue:
        return self._queues.setdefault(name, Queue())

    # ---- Lambda ----

    def _invoke(self, event: dict[str, Any]) -> Answer:
        if not self._allowance.take():
            self._calls["Invoke throttled"] += 1
            return 429, {"Message": "Rate exceeded", "__type": "TooManyRequestsException"}
        self._calls["Invoke"] += 1
        name = event.get("reply_to", DEFAULT_QUEUE).rsplit("/", 1)[-1]
        self._events.append((name, event["task_key"]))
        self._start()
        return 202, None

    def _start(self) -> None:
        """Start what has a place."""
        settings = self._settings
        while self._events and not (settings.places and self._running >= settings.places):
            name, task_key = self._events.popleft()
            self._running += 1
            self._started_at_s[task_key] = time.time()
            self._services[task_key] = FUNCTION
            runs_s = self._random.uniform(settings.shortest_s, settings.longest_s)
            asyncio.get_running_loop().call_later(runs_s, self._finish, name, task_key)

    def _finish(self, queue: str, task_key: str) -> None:
        self._report(queue, task_key)
        self._running -= 1
        self._start()

    def _report(self, queue: str | None, task_key: str) -> None:
        """Note the end of a workload's process; its result has reached the queue, if there is one.

        The result of a job of the reference is its end.
        """
        self._visible_at_s[task_key] = time.time()
        if queue is not None:
            body = json.dumps({"task_key": task_key, "return_code": 0, "task_state": "success"})
            self._queue(queue).put(Message(next(self._numbers), body))

    # ---- Batch, ECS and MicroVMs ----

    def _start_job(self, service: str, reply_to: str | None, key: str, /) -> None:
        self._started_at_s[key] = time.time()
        self._services[key] = service
        queue = reply_to and reply_to.rsplit("/", 1)[-1]
        settings = self._settings
        runs_s = self._random.uniform(settings.shortest_s, settings.longest_s)
        asyncio.get_running_loop().call_later(runs_s, self._end_job, queue, key)

    def _end_job(self, queue: str | None, key: str) -> None:
        self._report(queue, key)
        self._jobs.end(key)

    # ---- SQS ----

    async def _receive(self, queue: Queue, request: dict[str, Any]) -> dict[str, Any]:
        await queue.wait(float(request.get("WaitTimeSeconds", 0)))
        return {"Messages": queue.deliver(int(request.get("MaxNumberOfMessages", 1)))}

    async def _send(self, queue: Queue, request: dict[str, Any]) -> dict[str, Any]:
        number, body = next(self._numbers), request["MessageBody"]
        queue.put(Message(number, body))
        digest = hashlib.md5(body.encode(), usedforsecurity=False).hexdigest()
        return {"MessageId": str(number), "MD5OfMessageBody": digest}

    async def _delete(self, queue: Queue, request: dict[str, Any]) -> dict[str, Any]:
        queue.delivered.pop(request["ReceiptHandle"], None)
        return {}

    async def _delete_batch(self, queue: Queue, request: dict[str, Any]) -> dict[str, Any]:
        for entry in request["Entries"]:
            queue.delivered.pop(entry["ReceiptHandle"], None)
        return _batch_answer(request)

    async def _change_visibility(self, queue: Queue, request: dict[str, Any]) -> dict[str, Any]:
        queue.hand_back(request["ReceiptHandle"], request["VisibilityTimeout"])
        return {}

    async def _change_visibility_batch(
        self, queue: Queue, request: dict[str, Any]
    ) -> dict[str, Any]:
        for entry in request["Entries"]:
            queue.hand_back(entry["ReceiptHandle"], entry["VisibilityTimeout"])
        return _batch_answer(request)

    async def _attributes(self, queue: Queue, request: dict[str, Any]) -> dict[str, Any]:
        attributes = {
            "ApproximateNumberOfMessages": str(len(queue.visible)),
            "ApproximateNumberOfMessagesNotVisible": "0",
            "MessageRetentionPeriod": "345600",
            "QueueArn": "arn:aws:sqs:eu-west-1:000000000000:results",
            "VisibilityTimeout": "30",
        }
        return {"Attributes": {name: attributes[name] for name in request["AttributeNames"]}}


def _batch_answer(request: dict[str, Any]) -> dict[str, Any]:
    return {"Successful": [{"Id": entry["Id"]} for entry in request["Entries"]], "Failed": []}


async def main() -> None:
    """Serve until standard input closes."""
    aws = FakeAws(Settings(**json.loads(sys.argv[1])))
    server = await asyncio.start_server(aws.serve, "127.0.0.1", 0, backlog=1024)
    print(server.sockets[0].getsockname()[1], flush=True)  # noqa: T201 - what the caller waits for
    closed = asyncio.get_running_loop().run_in_executor(None, sys.stdin.read)
    await closed
    server.close()


if __name__ == "__main__":
    asyncio.run(main())
