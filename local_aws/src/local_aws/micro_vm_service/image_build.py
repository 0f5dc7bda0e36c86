"""One version of a MicroVM image: its build, and the snapshot from which MicroVMs are restored.

Without walls there are no snapshots: the build tries the process once, and each MicroVM starts it
anew and waits until it is ready.

https://docs.aws.amazon.com/lambda/latest/dg/microvms.html
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping

from local_aws.micro_vm_service.hooks import HookError, Hooks
from local_aws.sandbox.container import Container
from local_aws.sandbox.hook_socket import HookSocket
from local_aws.sandbox.sandbox import Confinement, RuntimeCommand, Sandbox
from local_aws.sandbox.snapshot import Snapshot, hooked

#: Seconds from the answer to `ready` until the process accepts the next connection.
_SETTLE_S = 30.0
#: Seconds in which the end of the process is noticed after it has left a hook unanswered.
_NOTICE_S = 1.0
_SERVES = (
    "serves the hooks with Python's http.server (or another socketserver.TCPServer) on hooks.port"
)
_COPIES = f"the embedded AWS copies one process with one thread, which {_SERVES}"
_STARTS = f"the embedded AWS starts a process which {_SERVES}"


class BuildError(Exception):
    """An image cannot be built; the message says why."""


class ImageVersion:
    """A version of an image, from which MicroVMs can be started after `build`.

    Args:
        command: The process of the Dockerfile, with its variables and limits.
        log: Gets each line that the process prints while the image is built.
    """

    def __init__(
        self,
        command: RuntimeCommand,
        hooks: Hooks,
        confinement: Confinement,
        log: Callable[[str], None],
    ) -> None:
        self.hooks = hooks
        self.memory_mb = command.memory_mb
        self._command = command
        self._confinement = confinement
        self._log = log
        self._came = threading.Event()
        self._lock = threading.Lock()
        self._retired = False
        self._snapshot: Snapshot | None = None
        #: Of the MicroVM that the build throws away.
        self._tried: Sandbox | None = None

    def build(self, variables: Mapping[str, str]) -> None:
        """Run the process until it is ready, take the snapshot if there are walls, and validate it.

        Args:
            variables: Those of the build alone, without spaces.

        Raises:
            BuildError: The version cannot be used, and has ended.
        """
        if not self.hooks.enabled("ready"):
            raise BuildError("the embedded AWS takes the snapshot after the hook ready: enable it")
        if not self._confinement.bubblewrap:
            self._try(variables)
            return
        socket = HookSocket(self.hooks.port)
        try:
            snapshot = Snapshot(self._command, self._confinement, socket)
        except OSError as e:
            socket.close()
            raise BuildError(f"the process cannot be started: {e}") from e
        with self._lock:
            self._snapshot = snapshot
            retired = self._retired
        if retired:
            snapshot.end()
        try:
            self._take(snapshot, socket, variables)
            if self.hooks.enabled("validate"):
                self._try(variables)
        except BaseException:
            snapshot.end()
            raise
        finally:
            socket.close()

    def sandbox(self, socket: HookSocket) -> Sandbox:
        """Make the sandbox of a MicroVM: it is restored from the snapshot, if there are walls.

        Raises:
            OSError: The snapshot cannot be copied, or the sandbox cannot be started.
        """
        try:
            if not self._confinement.bubblewrap:
                return Sandbox(hooked(self._command, socket), self._confinement)
            if self._snapshot is None:
                raise OSError("the image has no snapshot")
            return self._snapshot.restore(socket)
        finally:
            socket.give_away()

    def make_ready(self, container: Container, socket: HookSocket) -> None:
        """Wait until a MicroVM is ready, which one that was restored is already.

        Raises:
            HookError: The hook `ready` failed.
        """
        if self._snapshot:
            return
        try:
            self._ask("ready", container, socket)
        except HookError as e:
            raise HookError(f"{e} ({_STARTS})") from e

    def retire(self) -> None:
        """End the build, and the snapshot as soon as no MicroVM of it is left."""
        with self._lock:
            self._retired = True
            snapshot, tried = self._snapshot, self._tried
        if tried:
            tried.cut()
        if snapshot:
            snapshot.retire()

    def end(self) -> None:
        """Kill the processes of the build, of the snapshot and of all MicroVMs restored from it."""
        with self._lock:
            self._retired = True
            snapshot, tried = self._snapshot, self._tried
        if snapshot:
            snapshot.end()
            snapshot.sandbox.end()
        if tried:
            tried.end()

    def _take(self, snapshot: Snapshot, socket: HookSocket, variables: Mapping[str, str]) -> None:
        sandbox, came = snapshot.sandbox, self._came
        threading.Thread(target=self._read, args=[sandbox], name="image-log", daemon=True).start()
        snapshot.start(variables, came.set, came.set)
        socket.give_away()
        try:
            self.hooks.call_until_done("ready", socket, lambda wait_s: not came.wait(wait_s))
            socket.ask_for_snapshot()
        except (HookError, OSError) as e:
            came.wait(_NOTICE_S)
            reason = _exit(sandbox) or f"{e} ({_COPIES})"
            raise BuildError(reason) from e
        came.wait(_SETTLE_S)
        if snapshot.ready:
            return
        if snapshot.refusal:
            raise BuildError(f"{snapshot.refusal}: {_COPIES}")
        accepts = "the process accepts no connection after the hook ready"
        raise BuildError(_exit(sandbox) or f"{accepts}: {_COPIES}")

    def _read(self, sandbox: Sandbox) -> None:
        with sandbox.output as output:
            for line in output:
                self._log(line.decode(errors="replace").rstrip("\r\n"))

    def _try(self, variables: Mapping[str, str]) -> None:
        """Start a MicroVM, have it validated if that is enabled, and throw it away."""
        socket = HookSocket(self.hooks.port)
        try:
            sandbox = self.sandbox(socket)
        except OSError as e:
            socket.close()
            raise BuildError(f"the process cannot be started: {e}") from e
        with self._lock:
            self._tried, retired = sandbox, self._retired
        if retired:
            sandbox.cut()
        container = Container(sandbox, self._log, variables)
        try:
            self.make_ready(container, socket)
            if self.hooks.enabled("validate"):
                self._ask("validate", container, socket)
        except HookError as e:
            container.wait(_NOTICE_S)
            raise BuildError(_exit(sandbox) or str(e)) from e
        finally:
            socket.close()
            container.kill()

    def _ask(self, name: str, container: Container, socket: HookSocket) -> None:
        self.hooks.call_until_done(name, socket, lambda wait_s: not container.wait(wait_s))


def _exit(sandbox: Sandbox) -> str:
    """How the process ended while the image was built; empty: it runs."""
    if sandbox.running:
        return ""
    code = sandbox.exit_status if sandbox.exit_status >= 0 else 128 - sandbox.exit_status
    return f"the process ended with exit code {code} while the image was built"
