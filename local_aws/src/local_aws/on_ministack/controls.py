"""What AWS has no API for: an ASGI application around ministack's, with paths of its own.

`POST /_local_aws/spot-interruptions` with `{"arn": "<task or job>"}` takes back the capacity of a
running ECS task or Batch job. The answer is 204, or 404 with the reason.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from local_aws.on_ministack.front import App, Message, Receive, Send

_PREFIX = "/_local_aws/"

#: Takes back the capacity of what has this ARN; whether it ran.
Interrupt = Callable[[str], bool]


@dataclass(frozen=True, slots=True)
class Answer:
    """The answer to a request for a control."""

    status: int
    text: str = ""
    content_type: str = "text/plain; charset=utf-8"


#: Answers a request with this body.
Control = Callable[[bytes], Answer]


class Controls:
    """Answers below `/_local_aws/`, and leaves all other requests to `app`.

    Args:
        controls: By method and the path below `/_local_aws/`.
    """

    def __init__(self, app: App, controls: Mapping[tuple[str, str], Control]) -> None:
        self._app = app
        self._controls = {(method, _PREFIX + path): c for (method, path), c in controls.items()}

    async def __call__(self, scope: Message, receive: Receive, send: Send) -> None:
        """Answer a request."""
        if scope["type"] != "http" or not scope["path"].startswith(_PREFIX):
            await self._app(scope, receive, send)
            return
        body = b""
        while True:
            message = await receive()
            body += message.get("body", b"")
            if not message.get("more_body"):
                break
        answer = await asyncio.to_thread(self._answer, scope["method"], scope["path"], body)
        headers = [(b"content-type", answer.content_type.encode())]
        await send({"type": "http.response.start", "status": answer.status, "headers": headers})
        await send({"type": "http.response.body", "body": answer.text.encode()})

    def _answer(self, method: str, path: str, body: bytes) -> Answer:
        if control := self._controls.get((method, path)):
            return control(body)
        known = " or ".join(map(" ".join, self._controls))
        return Answer(404, f"there is no {method} {path}: use {known}\n")


def interruptions(interrupts: Mapping[str, Interrupt]) -> Control:
    """The control of Spot interruptions, given what interrupts, by the service in the ARN."""

    def interrupt(body: bytes) -> Answer:
        try:
            arn = str(json.loads(body)["arn"])
            _, _, service, _, _, _ = arn.split(":", 5)
        except (ValueError, KeyError, TypeError):
            return Answer(400, 'the body is not {"arn": "<ARN of an ECS task or a Batch job>"}\n')
        take_back = interrupts.get(service)
        if take_back is None or not take_back(arn):
            return Answer(404, f"no task or job {arn} is running\n")
        return Answer(204)

    return interrupt
