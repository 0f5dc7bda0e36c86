"""What AWS has no API for: an ASGI application around ministack's, with paths of its own.

`POST /_local_aws/spot-interruptions` with `{"arn": "<task or job>"}` takes back the capacity of a
running ECS task or Batch job. The answer is 204, or 404 with the reason.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable, Mapping

from local_aws.on_ministack.front import App, Message, Receive, Send

_PREFIX = "/_local_aws/"
_INTERRUPTIONS = f"{_PREFIX}spot-interruptions"

#: Takes back the capacity of what has this ARN; whether it ran.
Interrupt = Callable[[str], bool]


class Controls:
    """Answers below `/_local_aws/`, and leaves all other requests to `app`.

    Args:
        interrupts: By the service in the ARN.
    """

    def __init__(self, app: App, interrupts: Mapping[str, Interrupt]) -> None:
        self._app = app
        self._interrupts = interrupts

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
        status, text = await asyncio.to_thread(self._answer, scope["method"], scope["path"], body)
        headers = [(b"content-type", b"text/plain; charset=utf-8")]
        await send({"type": "http.response.start", "status": status, "headers": headers})
        await send({"type": "http.response.body", "body": text.encode()})

    def _answer(self, method: str, path: str, body: bytes) -> tuple[int, str]:
        if (method, path) != ("POST", _INTERRUPTIONS):
            return 404, f"there is no {method} {path}: use POST {_INTERRUPTIONS}\n"
        try:
            arn = str(json.loads(body)["arn"])
            _, _, service, _, _, _ = arn.split(":", 5)
        except (ValueError, KeyError, TypeError):
            return 400, 'the body is not {"arn": "<ARN of an ECS task or a Batch job>"}\n'
        interrupt = self._interrupts.get(service)
        if interrupt is None or not interrupt(arn):
            return 404, f"no task or job {arn} is running\n"
        return 204, ""
