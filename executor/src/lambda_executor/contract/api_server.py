"""How many database connections an API server of Airflow needs for many workloads at once.

The API server runs each request on a thread, takes a database connection for it, and needs a thread
a second time to check the answer, before it gives the connection back. Requests that wait for that
thread hold connections, and requests that have a thread wait for connections. If all threads and
all connections are taken in this way, nothing moves for the 30 s after which SQLAlchemy gives up.
It cannot happen while fewer requests are under way than there are threads and connections. A
workload has one request under way at a time.
https://github.com/fastapi/fastapi/pull/12066, https://github.com/fastapi/fastapi/discussions/6628
"""

from __future__ import annotations

#: Threads of each process of the API server, anyio's default.
#: https://anyio.readthedocs.io/en/stable/threads.html#adjusting-the-default-maximum-worker-thread-count
THREADS = 40
#: Airflow's defaults of `[database] sql_alchemy_pool_size` and `sql_alchemy_max_overflow`. Together
#: they are the most connections of one process.
POOL_SIZE = 5
MAX_OVERFLOW = 10
#: Requests of people, of health checks and of the triggerer at the same time.
OTHER_REQUESTS = 20


def connections_for(workloads: int) -> int:
    """Return how many connections one process needs if so many workloads run at once."""
    return max(POOL_SIZE + MAX_OVERFLOW, workloads + OTHER_REQUESTS - THREADS)


def max_overflow_for(workloads: int, pool_size: int = POOL_SIZE) -> int:
    """Return the `sql_alchemy_max_overflow` with which one process has enough connections."""
    return max(0, connections_for(workloads) - pool_size)
