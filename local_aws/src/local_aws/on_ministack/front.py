"""An ASGI application around ministack's: sets request ids of invokes and ends open requests."""

from __future__ import annotations

import asyncio
import contextvars
from collections.abc import Awaitable, Callable, MutableMapping
from dataclasses import dataclass
from typing import Any

Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
App = Callable[[Message, Receive, Send], Awaitable[None]]

#: The name in a request's ASGI state of the connection that it came by.
CONNECTION = "connection"


@dataclass(slots=True)
class Exchange:
    """An Invoke request's tenant, for the data plane, and the invocation's id, for the response."""

    request_id: str = ""
    tenant_id: str = ""


#: Set for each Invoke request and inherited by the threads on which ministack answers it.
exchange: contextvars.ContextVar[Exchange | None] = contextvars.ContextVar("exchange", default=None)


class Front:
    """An ASGI application around `app`; calls `started` when `app` is ready."""

    def __init__(self, app: App, started: Callable[[], None]) -> None:
        self._app = app
        self._started = started
        self._open_requests: set[asyncio.Future[None]] = set()

    async def __call__(self, scope: Message, receive: Receive, send: Send) -> None:
        """Answer a request, or start and stop the application (ASGI's lifespan)."""
        if scope["type"] == "lifespan":
            await self._app(scope, receive, self._announcing(send))
            return
        if scope["path"].endswith("/invocations"):
            current = Exchange()
            exchange.set(current)
            send = _with_request_id(send, current)
        request = asyncio.ensure_future(self._app(scope, receive, send))
        self._open_requests.add(request)
        try:
            await asyncio.wait({request})
        finally:
            self._open_requests.discard(request)
        if request.cancelled():
            await send({"type": "http.response.start", "status": 503, "headers": []})
            await send({"type": "http.response.body"})
        else:
            request.result()

    def end_requests(self) -> None:
        """Cancel every open request, mostly long polls."""
        for request in self._open_requests:
            request.cancel()

    def _announcing(self, send: Send) -> Send:
        async def send_on(message: Message) -> None:
            await send(message)
            if message["type"] == "lifespan.startup.complete":
                self._started()

        return send_on


def _with_request_id(send: Send, current: Exchange) -> Send:
    """Answer Invoke with the handler's request id, as AWS does, instead of ministack's own."""

    async def send_on(message: Message) -> None:
        if current.request_id and message["type"] == "http.response.start":
            message["headers"] = [
                (name, current.request_id.encode() if name == b"x-amzn-requestid" else value)
                for name, value in message["headers"]
            ]
        await send(message)

    return send_on
