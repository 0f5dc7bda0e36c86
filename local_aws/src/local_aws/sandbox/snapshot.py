"""A snapshot of an initialised runtime, from which sandboxes are restored.

A machine like this one cannot store processes. So the snapshot is the runtime's process itself: it
waits behind its own walls, and every restored sandbox begins with a copy of it (`runtime_copy.py`).
"""

from __future__ import annotations

import contextlib
import os
import select
import socket
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

from local_aws.sandbox.hook_socket import HookSocket
from local_aws.sandbox.sandbox import Confinement, RuntimeCommand, Sandbox, Started

_HERE = Path(__file__).parent
_HOOK = _HERE / "snapshot_hook"
_COPY = _HERE / "runtime_copy.py"
#: As in `snapshot_hook/sitecustomize.py`.
_VARIABLE = "LOCAL_AWS_SNAPSHOT"
#: What the runtime says when it waits; anything else is the reason why it cannot be copied.
_READY = b"ready"
_MEBIBYTE = 1024 * 1024


@dataclass(frozen=True, slots=True)
class _Copy:
    """A restored sandbox's first process, by a descriptor of it (pidfd_open(2))."""

    descriptor: int

    def wait(self) -> None:
        """Wait until it has ended, and with it all processes of its sandbox."""
        select.select([self.descriptor], [], [])
        os.close(self.descriptor)


def hooked(command: RuntimeCommand, hooks: HookSocket | None, control: int = -1) -> RuntimeCommand:
    """The command, whose Python begins with `snapshot_hook/sitecustomize.py`.

    Args:
        command: A Python that reads `PYTHONPATH`.
        hooks: How hooks reach its hook server; None: there is none.
        control: Descriptor of the socket on which it waits to be copied; -1: it is never copied.
    """
    paths = filter(None, (str(_HOOK), command.variables.get("PYTHONPATH")))
    hook_socket, port = (hooks.theirs, hooks.port) if hooks else (-1, 0)
    return replace(
        command,
        variables={
            **command.variables,
            "PYTHONPATH": os.pathsep.join(paths),
            _VARIABLE: f"{control} {hook_socket} {port} {_COPY}",
        },
        descriptors=tuple(given for given in (control, hook_socket) if given >= 0),
        copied=control >= 0,
    )


class Snapshot:
    """A runtime that is copied once it waits to be restored; needs walls.

    Args:
        command: A Python with `awslambdaric`, which waits in `restore_next`, or with a hook server;
            what else comes to the end of its init phase is not copied.
        hooks: How hooks reach the hook server; None: there is none, but `awslambdaric`.

    Attributes:
        sandbox: Where the snapshot's own processes are.
        ready: Whether the runtime waits to be restored.
        refusal: Why it cannot be copied, as it says itself; it has ended then.

    Raises:
        OSError: It cannot be started.
    """

    def __init__(
        self,
        command: RuntimeCommand,
        confinement: Confinement,
        hooks: HookSocket | None = None,
    ) -> None:
        self._command = command
        self._confinement = confinement
        self._state = threading.Condition()
        self._restoring = threading.Lock()
        self._copies = 0
        self.ready = False
        self.refusal = ""
        self._retired = self._ended = False
        self._control, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        with theirs:
            self.sandbox = Sandbox(hooked(command, hooks, theirs.fileno()), confinement)

    @property
    def alive(self) -> bool:
        """Whether sandboxes can be restored from it."""
        return self.sandbox.running and not self._ended

    def start(
        self,
        variables: Mapping[str, str],
        on_ready: Callable[[], None],
        on_exit: Callable[[], None],
    ) -> None:
        """Begin the init phase; `on_ready` is called at its end, if the runtime can be copied."""

        def ended() -> None:
            on_exit()
            # Its first process holds the socket open, so a copy that was asked for would not fail.
            self.end()

        self.sandbox.start(variables, ended)
        threading.Thread(
            target=self._listen, args=(on_ready,), name="snapshot", daemon=True
        ).start()

    def restore(self, hooks: HookSocket | None = None) -> Sandbox:
        """Restore a sandbox, in which a runtime can be started.

        Args:
            hooks: How hooks reach its hook server, if the snapshot has one.

        Raises:
            OSError: The snapshot cannot be copied.
        """
        with self._state:
            self._copies += 1
        return Sandbox(self._command, self._confinement, partial(self._copy, hooks), self._on_end)

    def retire(self) -> None:
        """End it as soon as no sandbox is left that was restored from it."""
        with self._state:
            self._retired = True
            unused = not self._copies
        if unused:
            self.end()

    def end(self) -> None:
        """Kill its processes, and those of all sandboxes that were restored from it."""
        self._ended = True
        self.sandbox.cut()
        # Unlike `close`, this wakes the listening thread, which closes it.
        with self._state, contextlib.suppress(OSError):
            self._control.shutdown(socket.SHUT_RDWR)

    def _listen(self, on_ready: Callable[[], None]) -> None:
        """Wait until the runtime is ready, and then for the end of the snapshot."""
        packet = self._hear()
        if packet == _READY:
            self.sandbox.rest()
            self.ready = True
            on_ready()
        elif packet:
            self.refusal = packet.decode()
            self.end()
        while self._hear():
            pass
        with self._restoring, self._state:
            self._control.close()

    def _hear(self) -> bytes:
        """Wait for a packet; empty: there will be none any more."""
        with contextlib.suppress(OSError):
            return self._control.recv(1024)
        return b""

    def _on_end(self) -> None:
        with self._state:
            self._copies -= 1
            unused = self._retired and not self._copies
        if unused:
            self.end()

    def _copy(
        self, hooks: HookSocket | None, command: RuntimeCommand, _temporary: str, joining: int
    ) -> Started:
        control, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        reading, writing = os.pipe()
        output = os.fdopen(reading, "rb", buffering=0)
        packet = f"restore {command.memory_mb} {command.tmp_mb * _MEBIBYTE}".encode()
        given = [theirs.fileno(), writing]
        given += [hooks.theirs] if hooks else []
        given += [] if joining < 0 else [joining]
        try:
            with theirs, self._restoring:
                socket.send_fds(self._control, [packet], given)
        except OSError as e:
            control.close()
            output.close()
            raise OSError(f"the snapshot's process is gone: {e.strerror}") from e
        finally:
            os.close(writing)
        _, descriptors, *_ = socket.recv_fds(control, 64, 1)
        if not descriptors:
            reason = output.read().decode(errors="replace").strip()
            control.close()
            output.close()
            raise OSError(reason or "the snapshot's process ended while it was copied")
        return Started(_Copy(descriptors[0]), output, control)
