"""Batch, ECS, MicroVMs and S3 in memory: botocore checks the requests and reads the answers."""

from __future__ import annotations

import io
import json
from collections import defaultdict, deque
from collections.abc import Iterator
from typing import Any
from urllib.parse import unquote, urlsplit

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

    S3 keeps objects by itself, unless it is told what to answer.

    Attributes:
        calls: The name of each call, and its parameters; of a call without a body, its path.
        objects: The objects of S3, by their paths.
    """

    def __init__(self) -> None:
        self.calls: list[tuple[str, dict[str, Any]]] = []
        self.objects: dict[str, bytes] = {}
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
        service, operation = event_name.split(".")[1:]
        path = unquote(urlsplit(request.url).path)
        is_json = request.body and service != "s3"
        self.calls.append((operation, json.loads(request.body) if is_json else {"path": path}))
        if self._answers[operation]:
            self._last[operation] = self._answers[operation].popleft()
        elif service == "s3":
            return self._object(request, path)
        answer = self._last[operation]
        if isinstance(answer, Exception):
            raise answer
        status, body = answer
        headers: Any = {"x-amzn-errortype": body["__type"]} if "__type" in body else {}
        return AWSResponse(request.url, status, headers, Body(json.dumps(body).encode()))

    def _object(self, request: Any, path: str) -> AWSResponse:
        headers: Any = {}
        if request.method == "PUT":
            # In one chunk, with its checksum behind it.
            size, _, chunk = request.body.read().partition(b"\r\n")
            self.objects[path] = chunk[: int(size, 16)]
            return AWSResponse(request.url, 200, headers, Body(b""))
        if path in self.objects:
            return AWSResponse(request.url, 200, headers, Body(self.objects[path]))
        # What S3 says to a role that may not list the bucket.
        error = b"<Error><Code>AccessDenied</Code><Message>Access Denied</Message></Error>"
        return AWSResponse(request.url, 403, headers, Body(error))
