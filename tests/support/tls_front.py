"""TLS in front of a Postgres that was built without it, as RDS answers.

A client asks in eight bytes whether there is TLS; the answer is one.
https://www.postgresql.org/docs/current/protocol-flow.html#PROTOCOL-FLOW-SSL
"""

from __future__ import annotations

import asyncio
import contextlib
import ssl
import struct
import threading
from collections.abc import Iterator

import trustme

_ASKS_FOR_TLS = struct.pack("!II", 8, 80877103)


@contextlib.contextmanager
def tls_front(database_port: int, ca: trustme.CA, host: str) -> Iterator[int]:
    """The port of a front that takes TLS and nothing else, with a CA's certificate for a host."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    ca.issue_cert(host).configure_cert(context)
    loop = asyncio.new_event_loop()

    async def forward(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if await reader.readexactly(8) != _ASKS_FOR_TLS:
            writer.close()  # As RDS with rds.force_ssl.
            return
        writer.write(b"S")
        await writer.drain()
        await writer.start_tls(context)
        behind, into = await asyncio.open_connection("127.0.0.1", database_port)
        await asyncio.gather(_copy(reader, into), _copy(behind, writer))

    server = loop.run_until_complete(asyncio.start_server(forward, "127.0.0.1", 0))
    thread = threading.Thread(target=loop.run_forever)
    thread.start()
    try:
        yield server.sockets[0].getsockname()[1]
    finally:
        asyncio.run_coroutine_threadsafe(_end(server), loop).result(timeout=10)
        loop.call_soon_threadsafe(loop.stop)
        thread.join(timeout=10)
        loop.close()


async def _copy(source: asyncio.StreamReader, to: asyncio.StreamWriter) -> None:
    with contextlib.suppress(ConnectionError, ssl.SSLError):
        while data := await source.read(65536):
            to.write(data)
            await to.drain()
    to.close()


async def _end(server: asyncio.Server) -> None:
    server.close()
    others = asyncio.all_tasks() - {asyncio.current_task()}
    for task in others:
        task.cancel()
    await asyncio.gather(*others, return_exceptions=True)
