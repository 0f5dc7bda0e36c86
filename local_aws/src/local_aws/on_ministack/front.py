"""Stands in front of ministack's ASGI application: request ids of invokes, and the end of requests.

It must not know what any request means.
"""

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


@dataclass(slots=True)
class Exchange:
    """What the HTTP request that is being answered and the data plane tell each other.

    Attributes:
        request_id: The id of the invocation that the request made; the response carries it.
        tenant_id: The tenant that the request named.
    """

    request_id: str = ""
    tenant_id: str = ""


#: Set for each request that invokes; the threads that ministack answers it on inherit it.
exchange: contextvars.ContextVar[Exchange | None] = contextvars.ContextVar("exchange", default=None)


class Front:
    """An ASGI application around another.

    Args:
        app: Who answers.
        started: Called when `app` is ready to answer.
    """

    def __init__(self, app: App, started: Callable[[], None]) -> None:
        self._app = app
        self._started = started
        self._under_way: set[asyncio.Future[None]] = set()

    async def __call__(self, scope: Message, receive: Receive, send: Send) -> None:
        """Answer a request, or run through the application's own start and stop."""
        if scope["type"] == "lifespan":
            await self._app(scope, receive, self._announcing(send))
            return
        if scope["path"].endswith("/invocations"):
            current = Exchange()
            exchange.set(current)
            send = _with_request_id(send, current)
        request = asyncio.ensure_future(self._app(scope, receive, send))
        self._under_way.add(request)
        try:
            await asyncio.wait({request})
        finally:
            self._under_way.discard(request)
        if request.cancelled():
            await send({"type": "http.response.start", "status": 503, "headers": []})
            await send({"type": "http.response.body"})
        else:
            request.result()

    def end_requests(self) -> None:
        """Give up every request that is under way, long polls for the most part."""
        for request in self._under_way:
            request.cancel()

    def _announcing(self, send: Send) -> Send:
        async def send_on(message: Message) -> None:
            await send(message)
            if message["type"] == "lifespan.startup.complete":
                self._started()

        return send_on


def _with_request_id(send: Send, current: Exchange) -> Send:
    """AWS's `x-amzn-RequestId` of an Invoke is the handler's; ministack makes one per response."""

    async def send_on(message: Message) -> None:
        if current.request_id and message["type"] == "http.response.start":
            message["headers"] = [
                (name, current.request_id.encode() if name == b"x-amzn-requestid" else value)
                for name, value in message["headers"]
            ]
        await send(message)

    return send_on
