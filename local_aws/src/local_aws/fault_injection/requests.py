"""An ASGI application around ministack's: what can happen to every request."""

from __future__ import annotations

import asyncio
import contextlib
from typing import Protocol, cast

from ministack.app import _send_response

from local_aws.fault_injection import answers
from local_aws.fault_injection.calls import Request
from local_aws.fault_injection.faults import Faults, caller
from local_aws.fault_injection.rules import OF_REQUESTS, Rule
from local_aws.on_ministack.front import CONNECTION, App, Message, Receive, Send


class Connection(Protocol):
    """The connection to a client."""

    def reset(self) -> None:
        """End it at once with a reset."""

    def close(self) -> None:
        """End it at once, in order but without an answer."""


class FaultyRequests:
    """Lets faults happen to the requests to `app`."""

    def __init__(self, app: App, faults: Faults) -> None:
        self._app = app
        self._faults = faults

    async def __call__(self, scope: Message, receive: Receive, send: Send) -> None:
        """Answer a request, unless a fault happens to it."""
        if scope["type"] != "http" or not self._faults.active:
            await self._app(scope, receive, send)
            return
        request = Request.read(scope)
        if not request.namespace or not self._faults.concern(request.namespace):
            await self._app(scope, receive, send)
            return
        body, receive = await _read(receive)
        call = request.call(body)
        caller.set(call.caller)
        hit = self._faults.hit(call.api, OF_REQUESTS, call.target)
        if hit is None:
            await self._app(scope, receive, send)
            return
        rule, connection = hit.rule, cast("Connection", scope["state"][CONNECTION])
        match rule.fault:
            case "delay":
                await self._app(scope, receive, _late(send, rule))
            case "lost_answer":
                await self._app(scope, receive, _nowhere)
                connection.close()
            case "reset":
                connection.reset()
            case "hang":
                await _wait(receive, rule.delay_s)
                connection.close()
            case _:
                status, headers, content = answers.error(rule, request, call)
                head = request.method == "HEAD"
                await _send_response(send, status, headers, content, head=head)


async def _read(receive: Receive) -> tuple[bytes, Receive]:
    """Read a request's body; return it, and what lets another read the same again."""
    messages: list[Message] = []
    while True:
        message = await receive()
        messages.append(message)
        if not message.get("more_body"):
            break
    again = iter(messages)

    async def receive_again() -> Message:
        message = next(again, None)
        return await receive() if message is None else message

    return b"".join(message.get("body", b"") for message in messages), receive_again


def _late(send: Send, rule: Rule) -> Send:
    """Send the answer later than it is ready."""

    async def send_late(message: Message) -> None:
        if message["type"] == "http.response.start":
            await asyncio.sleep(rule.delay_s)
        await send(message)

    return send_late


async def _nowhere(_message: Message) -> None:
    """Send nothing."""


async def _wait(receive: Receive, most_s: float) -> None:
    """Wait, but no longer than the client does."""

    async def disconnected() -> None:
        while (await receive())["type"] != "http.disconnect":
            pass

    with contextlib.suppress(TimeoutError):
        await asyncio.wait_for(disconnected(), most_s)
