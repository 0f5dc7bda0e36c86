"""One container: a command that runs once in a sandbox of its own, until it ends or is stopped.

A MicroVM is one, too, with a sandbox that was restored from a snapshot if there are walls.
"""

from __future__ import annotations

import secrets
import threading
from collections.abc import Callable, Mapping

from local_aws.sandbox.sandbox import Sandbox


class Container:
    """A running container; `log` gets each line of its output, on a thread of the container.

    It has ended once its last line has been logged.

    Args:
        sandbox: Where nothing has been started yet.
        variables: Additional ones, without spaces.
    """

    def __init__(
        self,
        sandbox: Sandbox,
        log: Callable[[str], None],
        variables: Mapping[str, str] | None = None,
    ) -> None:
        self.id = secrets.token_hex(32)
        self._log = log
        self._ended = threading.Event()
        self._stopping = False
        self._sandbox = sandbox
        threading.Thread(target=self._follow, name="container", daemon=True).start()
        # With its command the whole sandbox ends, and so does its output.
        self._sandbox.start(variables or {}, on_exit=self._sandbox.cut)

    @property
    def ended(self) -> bool:
        """Whether all of its processes are gone."""
        return self._ended.is_set()

    @property
    def exit_code(self) -> int:
        """The command's exit status, or 128 and the number of the signal that ended it."""
        status = self._sandbox.exit_status
        return status if status >= 0 else 128 - status

    @property
    def out_of_memory(self) -> bool:
        """Whether the command was killed because it needed more memory than it may use."""
        return self._sandbox.out_of_memory and not self._stopping

    def wait(self, timeout_s: float | None) -> bool:
        """Wait for its end; whether it has ended."""
        return self._ended.wait(timeout_s)

    def stop(self, grace_s: float) -> None:
        """Ask the command to end, kill all processes after the grace, and wait for their end."""
        self._stopping = True
        self._sandbox.terminate()
        if not self._ended.wait(grace_s):
            self.kill()

    def kill(self) -> None:
        """Kill every process and wait for their end. May be repeated."""
        self._stopping = self._stopping or not self.ended
        self._sandbox.stop()
        self._ended.wait()

    def _follow(self) -> None:
        try:
            with self._sandbox.output as output:
                for line in output:
                    self._log(line.decode(errors="replace").rstrip("\r\n"))
        finally:  # Also if a line cannot be logged: then the command is killed.
            self._sandbox.end()
            self._ended.set()
