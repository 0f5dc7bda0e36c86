"""The snapshot that Lambda takes of the init phase, and what is new in each copy of it.

With SnapStart, Lambda's runtime imports the handler, runs the hooks before the snapshot (in the
reverse order of their registration), and asks for the restored environment. Each environment
continues from there, minutes or weeks later and beside others, with the hooks after the restore (in
the order of their registration). `docs/decisions/0050-what-a-snapshot-holds.md` lists what is new
in each.
https://docs.aws.amazon.com/lambda/latest/dg/snapstart-runtime-hooks-python.html

Every MicroVM is such a copy too. It has no runtime of Lambda's, so `Snapshot` runs the hooks.
https://docs.aws.amazon.com/lambda/latest/dg/microvms-how-it-works.html
"""

from __future__ import annotations

import contextlib
import gc
import importlib
import os
import socket
import stat
import sys
import time
from collections.abc import Callable
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Any

from botocore.credentials import RefreshableCredentials

from lambda_image import host
from lambda_image.logs import log_output
from lambda_image.machine import environment, fetched_credentials, randomness

#: Lambda's own limit for the init phase that ends in a snapshot, in seconds; it is longer if the
#: function's time-out is. https://docs.aws.amazon.com/lambda/latest/dg/snapstart-runtime-hooks.html
INIT_LIMIT_S = 130.0

#: Lambda's module for hooks of functions.
_MODULE = "snapshot_restore_py"

_LONG_AGO = datetime.fromtimestamp(0, UTC)


def is_taken() -> bool:
    """Whether this init phase ends in a snapshot.

    https://docs.aws.amazon.com/lambda/latest/dg/configuration-envvars.html
    """
    is_snap_start = os.environ.get("AWS_LAMBDA_INITIALIZATION_TYPE") == "snap-start"
    return is_snap_start or host.name() == "MicroVM"


class _Hooks:
    """The hooks of a MicroVM, with the two functions of Lambda's own module.

    Hooks that libraries have registered with that module run too, inside of ours.
    """

    def __init__(self) -> None:
        self._before: list[Callable[[], None]] = []
        self._after: list[Callable[[], None]] = []
        self.register_before_snapshot = self._before.append
        self.register_after_restore = self._after.append

    def run_before_snapshot(self) -> None:
        for hook in reversed([*self._before, *_of_libraries("get_before_snapshot")]):
            hook()

    def run_after_restore(self) -> None:
        for hook in [*self._after, *_of_libraries("get_after_restore")]:
            hook()


def _of_libraries(registry: str) -> list[Callable[[], None]]:
    """What is registered with Lambda's module; whoever registers a hook has imported it."""
    found: list[Any] = getattr(sys.modules.get(_MODULE), registry, list)()
    return [partial(hook, *args, **options) for hook, args, options in found]


def _hooks() -> Any:  # noqa: ANN401 - Lambda's module, ours, or None without a snapshot
    if host.name() == "MicroVM":
        return _Hooks()
    return importlib.import_module(_MODULE) if is_taken() else None


class Snapshot:
    """The hooks around the snapshot, if one is taken.

    Create it before anything that may register hooks, a library of a DAG for example: what theirs
    leave behind must not be in the snapshot, and they must find what is new.
    """

    def __init__(self) -> None:
        #: When the hooks after the restore began, on the monotonic clock; None: not restored.
        self._restored_at_s: float | None = None
        self._hooks: Any = _hooks()
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

    def take(self) -> None:
        """Run the hooks before the snapshot of a MicroVM; nothing may be prepared after that."""
        self._hooks.run_before_snapshot()

    def restore(self) -> None:
        """Run the hooks after the restore of a MicroVM."""
        self._hooks.run_after_restore()

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
    """End every TCP connection that this process has made.

    Its owner, whichever library that is, then finds it closed and opens another. Left open, it
    would look alive in a restored environment, and the first request would wait for its time-out.
    What this process serves goes on: one of AWS's hooks may wait for its answer.
    """
    with contextlib.ExitStack() as closed_after:
        sockets = [
            closed_after.enter_context(found)
            for entry in Path("/proc/self/fd").iterdir()
            if (found := _tcp_socket(int(entry.name))) is not None
        ]
        served = {each.getsockname()[1] for each in sockets if _listens(each)}
        for each in sockets:
            if each.getsockname()[1] not in served:
                with contextlib.suppress(OSError):  # It is not connected.
                    each.shutdown(socket.SHUT_RDWR)


def _tcp_socket(descriptor: int) -> socket.socket | None:
    """Return a duplicate; None if the descriptor is something else, or is closed by now."""
    try:
        if not stat.S_ISSOCK(os.fstat(descriptor).st_mode):
            return None
        found = socket.socket(fileno=os.dup(descriptor))
    except OSError:
        return None
    if found.family in (socket.AF_INET, socket.AF_INET6) and found.type == socket.SOCK_STREAM:
        return found
    found.close()
    return None


def _listens(of: socket.socket) -> bool:
    return bool(of.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN))


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
