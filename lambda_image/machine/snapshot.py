"""The snapshot that Lambda takes of the init phase, and what is new in each copy of it (SnapStart).

Lambda's runtime imports the handler, runs the hooks before the snapshot (in the reverse order of
their registration), and asks for the restored environment. Each environment continues from there,
minutes or weeks later and beside others, with the hooks after the restore (in the order of their
registration). `docs/decisions/0050-what-a-snapshot-holds.md` lists what is new in each.
https://docs.aws.amazon.com/lambda/latest/dg/snapstart-runtime-hooks-python.html
"""

from __future__ import annotations

import contextlib
import gc
import importlib
import os
import socket
import stat
import time
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from botocore.credentials import RefreshableCredentials

from lambda_image.logs import log_output
from lambda_image.machine import environment, fetched_credentials, randomness

#: Lambda's own limit for the init phase that ends in a snapshot, in seconds; it is longer if the
#: function's time-out is. https://docs.aws.amazon.com/lambda/latest/dg/snapstart-runtime-hooks.html
INIT_LIMIT_S = 130.0

_LONG_AGO = datetime.fromtimestamp(0, UTC)


def is_taken() -> bool:
    """Whether this init phase ends in a snapshot.

    https://docs.aws.amazon.com/lambda/latest/dg/configuration-envvars.html
    """
    return os.environ.get("AWS_LAMBDA_INITIALIZATION_TYPE") == "snap-start"


class Snapshot:
    """The hooks around the snapshot, if one is taken.

    Create it before anything that may register hooks, a library of a DAG for example: what theirs
    leave behind must not be in the snapshot, and they must find what is new.
    """

    def __init__(self) -> None:
        #: When the hooks after the restore began, on the monotonic clock; None: not restored.
        self._restored_at_s: float | None = None
        self._hooks: Any = importlib.import_module("snapshot_restore_py") if is_taken() else None
        if self._hooks is not None:
            self._hooks.register_before_snapshot(_leave_nothing)
            self._hooks.register_after_restore(self._renew)
            fetched_credentials.mask()

    def surround(self, before: Callable[[], None], after: Callable[[], None]) -> None:
        """Run these around the hooks of libraries, which are registered later."""
        if self._hooks is not None:
            self._hooks.register_before_snapshot(before)
            self._hooks.register_after_restore(after)

    def then(self, begin: Callable[[], None], begin_restored: Callable[[], None]) -> None:
        """End the init phase: the first begins now, or the second after each restore."""
        if self._hooks is None:
            begin()
        else:
            self._hooks.register_after_restore(begin_restored)

    def restore_ms(self) -> float | None:
        """Milliseconds since the hooks after the restore began; None if nothing was restored."""
        if self._restored_at_s is None:
            return None
        return round((time.monotonic() - self._restored_at_s) * 1000, 1)

    def _renew(self) -> None:
        self._restored_at_s = time.monotonic()
        randomness.renew()
        environment.renew()
        log_output.read_credentials()
        log_output.share()


def _leave_nothing() -> None:
    """Close what is connected, forget what is secret, and share all memory with the children.

    Hooks of libraries may have made new objects since the heap was frozen.
    """
    gc.unfreeze()
    _shut_connections()
    _forget_credentials()
    gc.collect()
    gc.freeze()


def _shut_connections() -> None:
    """End every TCP connection of this process.

    Its owner, whichever library that is, then finds it closed and opens another. Left open, it
    would look alive in a restored environment, and the first request would wait for its time-out.
    """
    for entry in Path("/proc/self/fd").iterdir():
        with contextlib.suppress(OSError):
            _shut_connection(int(entry.name))


def _shut_connection(descriptor: int) -> None:
    if not stat.S_ISSOCK(os.fstat(descriptor).st_mode):
        return
    with socket.socket(fileno=os.dup(descriptor)) as found:
        is_ip = found.family in (socket.AF_INET, socket.AF_INET6)
        if is_ip and found.type == socket.SOCK_STREAM:
            found.getpeername()  # Fails if it is not connected, but listens for example.
            found.shutdown(socket.SHUT_RDWR)


def _forget_credentials() -> None:
    """Have every client of AWS fetch credentials anew before its next request.

    The clients stay: a library may have made one on import, and may keep it. With SnapStart the
    credentials come from the URI in AWS_CONTAINER_CREDENTIALS_FULL_URI.
    https://docs.aws.amazon.com/lambda/latest/dg/snapstart-activate.html#snapstart-credentials
    """
    for each in gc.get_objects():
        if issubclass(type(each), RefreshableCredentials):  # `isinstance` would ask proxies.
            each._access_key = each._secret_key = each._token = None  # noqa: SLF001
            each._frozen_credentials = None  # noqa: SLF001
            each._expiry_time = _LONG_AGO  # noqa: SLF001
