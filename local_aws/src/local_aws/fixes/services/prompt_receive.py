"""A long poll ends as soon as a message arrives.

SQS answers a waiting ReceiveMessage at once; ministack checks ten times a second, which adds 50 ms
on average. Messages that become visible again (after a delay or a visibility time-out) are still
found only by these checks.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from typing import Any

from ministack.services import sqs

_LOOK_EVERY_S = 0.1


class _Arrivals:
    """Replaces ministack's event `esm_wake`, which every producer sets after adding a message."""

    def __init__(self, stock: Any) -> None:  # noqa: ANN401 - a threading.Event
        self._stock = stock
        self._loop: asyncio.AbstractEventLoop | None = None
        self._waiting: set[asyncio.Future[None]] = set()

    def set(self) -> None:
        self._stock.set()
        if self._waiting and self._loop is not None:
            self._loop.call_soon_threadsafe(self._wake)

    def _wake(self) -> None:
        for future in self._waiting:
            if not future.done():
                future.set_result(None)

    async def wait(self, timeout_s: float) -> None:
        """Wait for a message to any queue."""
        self._loop = asyncio.get_running_loop()
        future = self._loop.create_future()
        self._waiting.add(future)
        try:
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(future, timeout_s)
        finally:
            self._waiting.discard(future)


def apply() -> None:
    """Wait for messages between ministack's short polls."""
    arrivals = sqs.esm_wake = _Arrivals(sqs.esm_wake)
    stock = sqs._act_receive_message

    async def receive_message(request: dict[str, Any], url: str) -> dict[str, Any]:
        queue = sqs._get_q(request.get("QueueUrl", url))
        wait = request.get("WaitTimeSeconds")
        if wait is None:
            wait = queue["attributes"].get("ReceiveMessageWaitTimeSeconds", "0")
        deadline_s = time.monotonic() + int(wait)
        short_poll = {**request, "WaitTimeSeconds": 0}
        while True:
            answer: dict[str, Any] = await stock(short_poll, url)
            left_s = deadline_s - time.monotonic()
            if answer or left_s <= 0:
                return answer
            await arrivals.wait(min(_LOOK_EVERY_S, left_s))

    sqs._act_receive_message = receive_message
    sqs._HANDLERS["ReceiveMessage"] = receive_message
