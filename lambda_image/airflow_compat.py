"""Every private part of Airflow that this image touches, each gated on its presence.

`docs/decisions/0007-in-process-run.md` says why. If a part has moved, Airflow's stock behaviour
holds: slower, never wrong. `tests/contract/test_handler_airflow.py` fails when one moved.
"""

from __future__ import annotations

import os
import selectors
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable


def install() -> list[str]:
    """Install what this Airflow has a place for.

    Returns:
        The touch points that are not there.
    """
    absent = []
    if not _wake_on_exit():
        absent.append("WatchedSubprocess._register_pipe_readers")
    return absent


def warm_tls() -> None:
    """Build the API client's TLS context once: it is cached per process and inherited."""
    from airflow.sdk.api.client import Client  # noqa: PLC0415 - slow, wanted in the init phase

    if cached := getattr(Client, "_get_ssl_context_cached", None):
        cached(None, None)


def _wake_on_exit() -> bool:
    """Wake the supervisor the instant its child exits.

    `WatchedSubprocess` waits on its child's pipes only. When all of them have closed just before
    the child can be reaped, nothing is left that could wake it, and it sleeps for a whole
    `min_heartbeat_interval` (5 s). A pidfd in the same selector becomes readable on exit.
    """
    from airflow.sdk.execution_time.supervisor import (  # noqa: PLC0415 - as above
        WatchedSubprocess,
    )

    stock: Callable[..., None] | None = getattr(WatchedSubprocess, "_register_pipe_readers", None)
    fields = {field.name for field in getattr(WatchedSubprocess, "__attrs_attrs__", ())}
    if stock is None or not {"pid", "selector"} <= fields:
        return False
    if getattr(stock, "wakes_on_exit", False) or not hasattr(os, "pidfd_open"):
        return True

    def register(self: Any, *args: Any, **kwargs: Any) -> None:  # noqa: ANN401 - Airflow's types
        stock(self, *args, **kwargs)
        _watch_exit(self)

    register.wakes_on_exit = True  # type: ignore[attr-defined]
    WatchedSubprocess._register_pipe_readers = register  # type: ignore[method-assign]  # noqa: SLF001
    return True


def _watch_exit(process: Any) -> None:  # noqa: ANN401 - Airflow's WatchedSubprocess
    try:
        watch = _ExitWatch(os.pidfd_open(process.pid))
    except OSError:  # An old kernel, a sandbox without pidfd: stock behaviour.
        return

    def read(_watch: _ExitWatch) -> bool:
        return False  # Nothing to read: the supervisor unregisters it, closes it, reaps the child.

    process.selector.register(watch, selectors.EVENT_READ, (read, process.selector.unregister))


class _ExitWatch:
    """A pidfd with the three methods that the supervisor and its selector use of a socket."""

    def __init__(self, pidfd: int) -> None:
        self._fd = pidfd

    def fileno(self) -> int:
        return self._fd

    def close(self) -> None:
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1

    def __del__(self) -> None:
        self.close()
