"""AWS Batch and Amazon ECS in memory: botocore checks the requests and reads the answers."""

from __future__ import annotations

import io
import json
from collections import defaultdict, deque
from collections.abc import Iterator
from typing import Any

import boto3
from botocore.awsrequest import AWSResponse

from lambda_executor.aws import Clients

#: A status and a body, or the error of a call without an answer.
Answer = tuple[int, dict[str, Any]] | Exception


class Body(io.BytesIO):
    """The body of an answer, as botocore reads it."""

    def stream(self, **_: object) -> Iterator[bytes]:
        """Yield all of it."""
        yield self.read()


class JobService:
    """Answers each call with the next answer to its operation, or with the last one again.

    Attributes:
        calls: The name of each call, and its parameters.
    """

    def __init__(self) -> None:
        self.calls: list[tuple[str, dict[str, Any]]] = []
        self._answers: dict[str, deque[Answer]] = defaultdict(deque)
        self._last: dict[str, Answer] = {}

    def answer(self, operation: str, **answer: Any) -> None:
        """Answer the next call of an operation."""
        self._answers[operation].append((200, answer))

    def refuse(self, operation: str, code: str, message: str, status: int = 400) -> None:
        """Answer the next call of an operation with an error."""
        self._answers[operation].append((status, {"__type": code, "message": message}))

    def lose(self, operation: str, error: Exception) -> None:
        """Give no answer to the next call of an operation."""
        self._answers[operation].append(error)

    def of(self, operation: str) -> list[dict[str, Any]]:
        """Return the parameters of all calls of an operation."""
        return [parameters for name, parameters in self.calls if name == operation]

    def clients(self) -> Clients:
        """The clients whose calls it answers."""

        def session() -> boto3.Session:
            made = boto3.Session(region_name="eu-west-1")
            send: Any = self._send  # The stubs do not know that a handler may answer.
            made.events.register("before-send", send)
            return made

        return Clients(session, region_name="eu-west-1", connections=1)

    def _send(self, request: Any, event_name: str, **_: object) -> AWSResponse:
        operation = event_name.rpartition(".")[2]
        self.calls.append((operation, json.loads(request.body)))
        if self._answers[operation]:
            self._last[operation] = self._answers[operation].popleft()
        answer = self._last[operation]
        if isinstance(answer, Exception):
            raise answer
        status, body = answer
        headers: Any = {"x-amzn-errortype": body["__type"]} if "__type" in body else {}
        return AWSResponse(request.url, status, headers, Body(json.dumps(body).encode()))
