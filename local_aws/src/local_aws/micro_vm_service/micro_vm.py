"""The life of one MicroVM: it is started, gets the hook `run`, and ends or is terminated.

https://docs.aws.amazon.com/lambda/latest/microvm-api/API_GetMicrovm.html
"""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from local_aws.micro_vm_service.hooks import HookError
from local_aws.micro_vm_service.image_build import ImageVersion
from local_aws.sandbox.container import Container
from local_aws.sandbox.hook_socket import HookSocket

#: The words for the end of the longest duration are this emulator's: AWS's are not documented.
EXPIRED = "Maximum duration reached"


@dataclass(frozen=True, slots=True)
class Run:
    """What a MicroVM is run with.

    Attributes:
        body: What the hook `run` gets.
        duration_s: After which it is terminated, counted from the request.
        variables: Its own ones, without spaces.
        exit_delay_s: From the end of its process until it is TERMINATED.
    """

    body: Mapping[str, str]
    duration_s: float
    variables: Mapping[str, str]
    exit_delay_s: float


class MicroVm:
    """A MicroVM, which `live` runs to its end; `terminate` may come at any time.

    Args:
        log: Gets each line of its output.
        changed: Called with its new state and the reason, if there is one.
    """

    def __init__(
        self,
        image: ImageVersion,
        run: Run,
        log: Callable[[str], None],
        changed: Callable[[str, str | None], None],
    ) -> None:
        self._image = image
        self._run = run
        self._log = log
        self._changed = changed
        self._lock = threading.Lock()
        self._stop: str | None = None
        self._container: Container | None = None
        self._socket = HookSocket(image.hooks.port)
        self._closed = threading.Event()
        self._ends_at_s = time.monotonic() + run.duration_s

    def live(self) -> None:
        """Run it to its end, whatever that is, and say TERMINATED."""
        try:
            reason = self._live()
        finally:
            self._socket.close()
        self._changed("TERMINATED", reason)

    def terminate(self, reason: str | None, *, by_hook: bool = True) -> None:
        """Have it end, without waiting; of several reasons the first counts.

        Args:
            reason: Its `stateReason`; None: it has none.
            by_hook: Whether the hook `terminate` is called first, if it is enabled.
        """
        with self._lock:
            if self._stop is not None:
                return
            self._stop = reason or ""
            self._changed("TERMINATING", reason)
            container = self._container
        if container:
            arguments = [container, by_hook]
            threading.Thread(target=self._end, args=arguments, name="micro-vm-end").start()

    def close(self) -> None:
        """Kill its processes and wait for their end. May be repeated."""
        self._closed.set()
        with self._lock:
            self._stop = self._stop or ""
            container = self._container
        if container:
            container.kill()

    def _live(self) -> str | None:
        try:
            sandbox = self._image.sandbox(self._socket)
        except OSError as e:
            return f"the embedded AWS cannot start the MicroVM: {e}"
        container = Container(sandbox, self._log, self._run.variables)
        try:
            return self._follow(container)
        finally:
            container.kill()

    def _follow(self, container: Container) -> str | None:
        """Follow its process to the end; why it ended, if there is a reason."""
        with self._lock:
            self._container = container
            if self._stop is not None:
                return self._stop or None
        self._start(container)
        if not container.wait(max(0.0, self._ends_at_s - time.monotonic())):
            self.terminate(EXPIRED)
            container.wait(None)
        with self._lock:
            if self._stop is not None:
                return self._stop or None
            # From now on it has ended by itself.
            self._stop = reason = f"Container Stopped with Exit Code: {container.exit_code}"
        self._closed.wait(self._run.exit_delay_s)
        return reason

    def _start(self, container: Container) -> None:
        """Call the hook `run`; it is RUNNING after that."""
        hooks = self._image.hooks
        try:
            self._image.make_ready(container, self._socket)
            if hooks.enabled("run"):
                hooks.call("run", self._socket, self._run.body)
        except HookError as e:
            self.terminate(str(e), by_hook=False)
            return
        with self._lock:
            if self._stop is None:
                self._changed("RUNNING", None)

    def _end(self, container: Container, by_hook: bool) -> None:
        hooks = self._image.hooks
        try:
            if by_hook and hooks.enabled("terminate"):
                body = {"microvmId": self._run.body["microvmId"]}
                with contextlib.suppress(HookError):
                    hooks.call("terminate", self._socket, body)
        finally:
            container.kill()
