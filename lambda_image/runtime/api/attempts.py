"""One attempt at a call, where Airflow's client of the Execution API would make several."""

from __future__ import annotations

import inspect
import math
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any

#: What an attempt gets at least, in seconds, even if the time is over.
_LEAST_ATTEMPT_S = 0.5


@contextmanager
def one_attempt(client: Any, by_s: float | None = None) -> Iterator[None]:  # noqa: ANN401
    """Let a client call once, where Airflow's would repeat, and wait only until `by_s`."""
    request = type(client).request
    before, stock_timeout = vars(client).get("request"), client.timeout
    if _takes_retry(request):
        client.request = partial(request, client, retry=False)
    else:
        client.request = partial(request.__wrapped__, client)
    if by_s is not None and by_s < math.inf:
        left_s = max(_LEAST_ATTEMPT_S, by_s - time.monotonic())
        client.timeout = min(left_s, stock_timeout.read or left_s)
    try:
        yield
    finally:
        client.timeout = stock_timeout
        if before is None:
            del client.request
        else:
            client.request = before


def can_make_one(request: Callable[..., Any]) -> bool:
    """Whether the method of Airflow's client has a form that `one_attempt` knows."""
    return _takes_retry(request) or hasattr(request, "__wrapped__")


def _takes_retry(request: Callable[..., Any]) -> bool:
    return "retry" in inspect.signature(request).parameters  # Since Airflow 3.4.
