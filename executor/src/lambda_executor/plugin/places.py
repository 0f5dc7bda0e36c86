"""How many panels are read at once.

Each takes one of the 40 threads of an API server's process, on which it also serves the Execution
API, and so the tasks that run.
"""

from __future__ import annotations

import threading
from collections.abc import AsyncIterator

from fastapi import HTTPException, status

#: The most panels that one process reads at once.
MOST_AT_ONCE = 12

places = threading.BoundedSemaphore(MOST_AT_ONCE)


async def in_a_place() -> AsyncIterator[None]:
    """Answer 503 to one request too many, before it takes a thread."""
    if not places.acquire(blocking=False):
        raise HTTPException(
            status.HTTP_503_SERVICE_UNAVAILABLE,
            "too many panels are read at once",
            {"Retry-After": "1"},
        )
    try:
        yield
    finally:
        places.release()
