"""Serves Airflow's Execution API from this process, on 127.0.0.1 alone."""

from __future__ import annotations

import threading
import time
from contextlib import suppress
from urllib.request import urlopen

import uvicorn
from airflow.api_fastapi.app import create_app

from lambda_executor.contract.errors import LocalRunError

#: How long to wait for the server and its first answer, in seconds.
_STARTS_WITHIN_S = 60


def serve() -> str:
    """Serve on a thread until this process ends; returns the URL.

    Raises:
        LocalRunError: The server does not start.
    """
    config = uvicorn.Config(create_app(apps="execution"), "127.0.0.1", 0, log_level="warning")
    server = uvicorn.Server(config)
    threading.Thread(target=server.run, daemon=True).start()
    until_s = time.monotonic() + _STARTS_WITHIN_S
    while not server.started:
        if time.monotonic() > until_s:
            raise LocalRunError("the Execution API of this run does not start")
        time.sleep(0.01)
    port = server.servers[0].sockets[0].getsockname()[1]
    url = f"http://127.0.0.1:{port}/execution/"
    with (
        suppress(OSError),
        urlopen(f"{url}health", timeout=_STARTS_WITHIN_S),  # noqa: S310 - our own address
    ):
        pass  # The first request takes seconds, which the task would have to pay for.
    return url
